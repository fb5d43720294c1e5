"""`jit`: a function of tensors, captured once per signature and run by one native call.

The first call with a signature traces the function without running anything and compiles what it
saw; later calls run that. The signature: arguments, closure, globals that the code names, and
attributes of `self` (see `guards`), and the modes and settings in force. Tensors in all of these
are inputs, whose values do not matter. A changed signature traces again, and `explain()` says why.

What a function does besides computing is its business at every call: a function that changes what
its signature describes (appends to a list, stores a new tensor in an attribute), lets a tensor
escape, or draws from Python's or NumPy's random numbers, is traced at every call. Gradients of
tensors that existed before the call are state, as what is assigned is.
"""

from __future__ import annotations

import copy
import functools
import gc
import itertools
import logging
import sys
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar, overload

from inkle import config
from inkle.engine.memory_use import MemoryUse
from inkle.engine.pipeline import timed
from inkle.engine.recorder import Recorder
from inkle.engine.trace import current_trace, tracing
from inkle.errors import OptionError, TraceError
from inkle.ir.node import Node
from inkle.ir.size import answering
from inkle.runtime.locks import Locked
from inkle.tensor.base import Core
from inkle.tensor.entry import Arguments, Call, Entry, Traced, storages_of
from inkle.tensor.environment import Environment, Recent, describe_plain, hidden_state
from inkle.tensor.guards import Describer, Named, flow
from inkle.tensor.leaves import CUT, leaves_below
from inkle.tensor.modes import modes
from inkle.tensor.origin import user_line
from inkle.tensor.portable import Portable, portable, refuse
from inkle.tensor.structure import difference, structure
from inkle.tensor.tensor import Tensor
from inkle.tensor.variable import Axes, Declared, Pinned, Sizes

P = ParamSpec("P")
R = TypeVar("R")
MOST_ENTRIES = 64  # signatures kept; the least recently used goes first
NAMES = tuple(f"argument {i}" for i in range(16))  # ready made; more arguments take longer
SETTINGS = ("INKLE_CHECK", "INKLE_MEMORY_LIMIT", "INKLE_TARGET", "INKLE_THREADS")
MANY_TRACES = 16  # then a warning: the function is hardly ever replayed
_log = logging.getLogger("inkle")


@dataclass(frozen=True, slots=True)
class JitStats:
    """What has become of the calls of a captured function.

    Attributes:
        calls: how often it was called; calls that were part of another capture do not count.
        traces: how often it was traced. The other calls ran a capture that was there.
        captures: how many captures are kept, each for one signature.
        hoisted_bytes: memory of values that they compute ahead, because they come from constants
            and from tensors that the function does not change.
        reasons: why it was traced, trace by trace (the last hundred), as in `explain()`.
    """

    calls: int
    traces: int
    captures: int
    hoisted_bytes: int
    reasons: tuple[str, ...]


class _State(Locked):
    """What is known of one function, or of one instance's method.

    Attributes:
        limit: most bytes that a run may take; 0: what the settings say.
        declared: which axes of arguments are variables.
    """

    def __init__(self, limit: int = 0, declared: Declared | None = None) -> None:
        super().__init__()
        self.declared = declared
        self.names: set[str] = set()
        self.environment: Environment | None = None
        self.recent: Recent | None = None
        self.entries: list[Entry] = []
        self.last: object = None
        self.reasons: deque[str] = deque(maxlen=100)
        self.traces = 0
        self.counter = itertools.count()  # of calls; `next` is safe in threads, `+= 1` is not
        self.looks = 0  # at the counter
        self.limit = limit


class Jit(Generic[P, R]):
    """A captured function; made by `jit`."""

    def __init__(
        self,
        function: Callable[P, R],
        state: _State | None = None,
        sizes: Mapping[str, Axes] | None = None,
    ) -> None:
        self._function = function
        self._sizes = sizes
        self._state = state or _State(0, Declared(function, sizes) if sizes else None)
        self._home = (getattr(function, "__module__", None) or "").partition(".")[0]
        self._bound: dict[int, tuple[weakref.ref[Any], _State]] = {}
        functools.update_wrapper(self, function)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind to an instance: each has captures of its own, which it does not hold itself."""
        if instance is None:
            return self
        key = id(instance)
        if key not in self._bound:
            try:
                alive = weakref.ref(instance, lambda _: self._bound.pop(key, None))
            except TypeError:
                raise TraceError(
                    f"jit of a method needs instances that allow weak references; add "
                    f"'__weakref__' to __slots__ of {type(instance).__name__}"
                ) from None
            method = self._function.__get__(instance, owner)
            declared = Declared(method, self._sizes) if self._sizes else None
            self._bound[key] = alive, _State(self._state.limit, declared)
        bound: Jit[Any, R] = Jit(self._function.__get__(instance, owner), self._bound[key][1])
        return bound

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the capture for this signature; capture first if there is none."""
        if current_trace() is not None:
            return self._function(*args, **kwargs)  # part of the capture around it
        next(self._state.counter)
        call = self._describe(args, kwargs)
        entry = self._find(call)
        if entry is None:
            with self._state.lock:
                entry = self._find(call) or self._capture_within(call, args, kwargs)
        result: R = entry.run(call)
        return result

    def explain(self) -> str:
        """Return why the function was traced, trace by trace (the last hundred)."""
        reasons = self._state.reasons
        first = self._state.traces - len(reasons)
        return "\n".join(f"trace {first + i}: {reason}" for i, reason in enumerate(reasons))

    def stats(self) -> JitStats:
        """Return how often the function was called and traced, and why."""
        state = self._state
        with state.lock:
            calls = next(state.counter) - state.looks
            state.looks += 1
            kept = sum(entry.hoisted_bytes for entry in state.entries)
            reasons = tuple(state.reasons)
            return JitStats(calls, state.traces, len(state.entries), kept, reasons)

    def memory_report(self) -> MemoryUse:
        """Return what a run of the latest capture needs memory for; `print` shows a table.

        Raises:
            TraceError: if there is none.
        """
        with self._state.lock:
            if not self._state.entries:
                raise TraceError("nothing has been captured; call the function first")
            return self._state.entries[-1].memory_use()

    def portables(self) -> list[Portable]:
        """Return what all captures do that hold for what the function refers to now.

        Raises:
            TraceError: if there is none, or plain data and tensors cannot say what one does.
        """
        state = self._state
        with state.lock:
            around = Environment(self._function, state.names, self._home)
            entries = [e for e in state.entries if around.description in e.signature]
            if not entries:
                why = f"; the last trace: {state.reasons[-1]}" if state.reasons else "; call it"
                raise refuse(f"there is no capture of it as it is now{why}")
            return [portable(each, around.tensors()) for each in entries]

    def __copy__(self) -> Jit[P, R]:
        return _captured(self._function, self._state.limit, self._sizes)

    def __deepcopy__(self, memo: dict[int, Any]) -> Jit[P, R]:
        """Capture the copied function: a method of a copied object belongs to the copy."""
        return _captured(copy.deepcopy(self._function, memo), self._state.limit, self._sizes)

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Be pickled like the function: by name. Captures stay behind."""
        path: str = getattr(self, "__qualname__", "")  # a partial has none
        found: Any = sys.modules.get(self.__module__)
        for name in path.split("."):
            found = getattr(found, name, None)
        return (
            path if found is self else (_captured, (self._function, self._state.limit, self._sizes))
        )

    def _describe(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        state = self._state
        while True:
            around = state.environment
            closed_over = [] if around is None else around.tensors()
            if around is None or not around.holds(self._function, closed_over):
                around = state.environment = Environment(self._function, state.names, self._home)
                closed_over = around.tensors()
            settings = _around(modes.training, modes.no_grad, state.limit, config.get_all(SETTINGS))
            recent, values = state.recent, (*args, *kwargs.values())
            if recent is not None and recent.is_like(around, kwargs, settings, values):
                tensors = [*values, *closed_over]
                return Call(recent.signature, tensors, len(values), around.questions, Sizes())
            sizes = Sizes() if state.declared is None else state.declared.of_call(args, kwargs)
            arguments, tensors, questions = self._describe_arguments(args, kwargs, around, sizes)
            others = sizes.take_around(around.bound) if around.bound else ()
            if around.is_complete():  # arguments may bring code that names more
                break
        signature = (*arguments, around.description, *settings, *others)
        if state.declared is None and not around.bound and {*map(type, values)} == {Tensor}:
            recent = Recent(signature, around, kwargs, settings, values)
            state.recent = recent if recent.is_like(around, kwargs, settings, values) else None
        return Call(signature, [*tensors, *closed_over], len(tensors), questions, sizes)

    def _describe_arguments(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], around: Environment, sizes: Sizes
    ) -> tuple[Iterable[object], list[Core], frozenset[str]]:
        values = (*args, *kwargs.values())
        names = (*NAMES[: len(args)], *kwargs)
        plain = describe_plain(values, around.numbers, sizes)
        if plain is not None and len(names) == len(plain):
            tensors = [each for each in values if isinstance(each, Core)]
            return zip(names, plain, strict=True), tensors, around.questions
        names = (*(f"argument {i}" for i in range(len(args))), *kwargs)
        describer = Describer(self._state.names, self._home, around.numbers, sizes.shapes)
        described = describer.named(zip(names, values, strict=True))
        sizes.take_bound(describer.bound)
        return described, describer.tensors, around.questions | describer.questions

    def _find(self, call: Call) -> Entry | None:
        for each in reversed(self._state.entries):  # a list that never changes: it is replaced
            if each.matches(call):
                return each
        return None

    def _capture_within(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Entry:
        """Capture under the memory limit of this function."""
        limit = self._state.limit
        with config.Context(**({"INKLE_MEMORY_LIMIT": limit} if limit else {})):
            return self._capture(call, args, kwargs)

    def _capture(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Entry:
        state = self._state
        reason = self._reason(call)
        hidden = hidden_state()
        traced = timed("trace", lambda: self._trace_for_sizes(call, args, kwargs))
        if traced.recorder.escaped():
            gc.collect()  # perhaps they are in cycles to which nobody refers
        escaped = traced.recorder.escaped()
        entry = Entry(call, traced, escaped)
        after = self._describe(args, kwargs)
        if escaped:
            reason += "; not kept: a tensor made inside is stored outside"
        elif after.signature != call.signature:
            reason += f"; not kept: it changes {difference(call.signature, after.signature)}"
        elif [*map(id, after.tensors)] != [*map(id, call.tensors)]:
            reason += "; not kept: it replaces tensors by others"
        elif hidden_state() != hidden:
            reason += "; not kept: it draws random numbers of Python or NumPy"
        elif after.questions:
            reason += f"; not kept: it asks {', '.join(sorted(after.questions))}"
        else:
            state.entries = [*state.entries[-MOST_ENTRIES + 1 :], entry]
        state.last = call.signature
        state.reasons.append(reason)
        state.traces += 1
        if state.traces == MANY_TRACES:
            _log.warning(
                "%s has been traced %d times, which is slow; the last time: %s",
                getattr(self, "__qualname__", self._function), MANY_TRACES, reason,
            )  # fmt: skip
        return entry

    def _reason(self, call: Call) -> str:
        last = self._state.last
        if last is None:
            return "first call"
        if last == call.signature:
            asked = [each.failed(call) for each in reversed(self._state.entries)]
            return next(
                filter(None, asked), "gradients, or values that it has looked at, are others"
            )
        return difference(last, call.signature)

    def _trace_for_sizes(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Traced:
        """Trace; anew with a number in place of a variable whose value the function needs."""
        while True:
            try:
                return self._trace(call, args, kwargs)
            except Pinned as pinned:
                call.sizes.pin(pinned.name)

    def _trace(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Traced:
        borders = {
            each._storage: CUT
            for tensor in call.tensors
            for each in (tensor, tensor._grad)
            if each is not None and flow(each) == "derived"
        }
        sizes = call.sizes
        shapes = {
            each._storage: sizes.shapes[id(each)]
            for each in call.tensors
            if id(each) in sizes.shapes
        }
        inputs = storages_of(call.tensors[: call.n_arguments])
        recorder = Recorder(inputs, borders, user_line, shapes)
        with tracing(recorder), answering(sizes):
            returned: list[Tensor] = []
            result = structure(self._function(*args, **kwargs), returned)
            nodes = [each.node for each in returned]
            left: list[tuple[Core, Node | None]] = []
            for owner, grad in recorder.grads.values():
                if recorder.is_inside(owner._storage):
                    owner._grad = grad
                elif grad is not owner._grad:
                    left.append((owner, None if grad is None else grad._storage.current))
        found = [*recorder.found_grads.values()]
        recorder.grads.clear()
        recorder.found_grads.clear()
        outputs = [
            (type(each), bool(leaves_below(node)))
            for each, node in zip(returned, nodes, strict=True)
        ]
        arguments = Arguments.of(call, args, kwargs)
        if sizes.values:
            arguments = "its sizes are symbolic"
        return Traced(recorder, result, nodes, outputs, found, left, arguments, modes.training)


@functools.lru_cache(maxsize=64)
def _around(
    training: bool, no_grad: bool, limit: int, values: tuple[object, ...]
) -> tuple[Named, ...]:
    """Return what a capture depends on besides the function and its arguments."""
    settings = dict(zip(SETTINGS, values, strict=True))
    settings["INKLE_MEMORY_LIMIT"] = limit or settings["INKLE_MEMORY_LIMIT"]
    return ("training", training), ("no_grad", no_grad), *settings.items()


def _captured(
    function: Callable[P, R], limit_bytes: int, sizes: Mapping[str, Axes] | None
) -> Jit[P, R]:
    """Return a captured function with a memory limit and symbolic sizes."""
    declared = Declared(function, sizes) if sizes else None
    return Jit(function, _State(limit_bytes, declared), sizes)


@overload
def jit(
    function: Callable[P, R],
    *,
    memory_limit: int | str | None = None,
    sizes: Mapping[str, Axes] | None = None,
) -> Jit[P, R]: ...


@overload
def jit(
    *, memory_limit: int | str | None = None, sizes: Mapping[str, Axes] | None = None
) -> Callable[[Callable[P, R]], Jit[P, R]]: ...


def jit(
    function: Any = None,
    *,
    memory_limit: int | str | None = None,
    sizes: Mapping[str, Axes] | None = None,
) -> Any:
    """Capture a function of tensors and run it by one native call.

    Args:
        function: takes and returns tensors, Python values, and tuples, lists, dicts of them.
        memory_limit: most memory that a call may take besides what exists before it, in bytes or as
            "2GB": values that are kept for long are computed again instead, bit for bit the same.
            Default: the setting INKLE_MEMORY_LIMIT; 0 there means no limit.
        sizes: axes of arguments whose size is a variable, {name: {axis: Variable}}. The function is
            traced and compiled once for all sizes within bounds. Where an argument is a list, tuple
            or dict, this holds for all tensors in it.

    Returns:
        A callable with the same arguments. Outputs are fresh; assignments to tensors that existed
        before the call, arguments included, and gradients left in them, happen at every call. No
        gradient flows through the result: call `backward()` inside.

    Raises:
        TraceError: when called, if the function needs the value of a tensor that depends on its
            arguments, or depends on something that cannot be compared.
        MemoryFailure: when called, if the limit cannot be met; nothing has changed then.
        OptionError: if the limit is no size.

    Example:
        >>> @jit
        ... def double(x):
        ...     return x * 2
        >>> double(Tensor([1.0, 2.0])).tolist()
        [2.0, 4.0]
    """
    limit = 0 if memory_limit is None else _bytes_of(memory_limit)
    if function is None:
        return functools.partial(jit, memory_limit=memory_limit, sizes=sizes)
    if isinstance(function, (classmethod, staticmethod, property)):
        kind = type(function).__name__
        raise TraceError(f"jit captures functions, got a {kind}; write @{kind} above @jit")
    if not callable(function):
        raise TraceError(f"jit captures functions, got {function!r:.60}")
    if isinstance(function, Jit):
        is_plain = limit == 0 and sizes is None
        return function if is_plain else _captured(function._function, limit, sizes)
    return _captured(function, limit, sizes)


def _bytes_of(memory_limit: object) -> int:
    try:
        found = config.size_bytes(str(memory_limit)) if isinstance(memory_limit, (int, str)) else 0
        if found <= 0:
            raise ValueError("must be a size above 0, such as 500_000_000, '2GB' or '1.5GiB'")
    except ValueError as error:
        raise OptionError(f"memory_limit={memory_limit!r:.40}: {error}") from None
    return found

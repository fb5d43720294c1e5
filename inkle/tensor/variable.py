"""Sizes that a captured function is compiled for once: variables, and what a call gives them.

Outside of captured functions a bound variable is the integer that it is bound to. While a function
that got it is traced, it is a `Size`; what Python asks about that size and bounds do not tell is
answered from the call that is traced, and becomes a condition of the capture.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inkle.engine.specialise import replaced
from inkle.errors import DTypeError, OptionError, ShapeError
from inkle.ir import forms, size
from inkle.ir.node import Shape
from inkle.ir.size import Size, relation_text
from inkle.tensor.base import Core
from inkle.tensor.origin import user_line

Known = tuple[Shape, tuple[tuple["Variable", int], ...]]  # symbolic shape, values of variables
MOST_SHAPES = 4096  # remembered
LARGEST = 2**31 - 1  # of one size; what is computed from sizes has 64 bits
if TYPE_CHECKING:
    _Base = int
else:
    _Base = object


class Variable:
    """A size that is another one at every call of a captured function, compiled once for all.

    Variables of equal name and bounds are the same.

    Args:
        name: an identifier; it appears in shapes and messages.
        minimum: the smallest value, 0 or more.
        maximum: the largest value; memory is planned for it, so keep it close.

    Attributes:
        size: the variable as a size in shapes.

    Raises:
        DTypeError: if the bounds are no integers, or the name is no string.
        OptionError: if the name is no identifier, or the bounds are no bounds.

    Example:
        >>> n = Variable("n", 1, 100)
        >>> @jit
        ... def head(x, n):
        ...     return x[:n].sum()
        >>> [head(Tensor.ones(100), n.bind(i)).item() for i in (1, 5, 50)], head.stats().traces
        ([1.0, 5.0, 50.0], 1)
    """

    __slots__ = ("maximum", "minimum", "name", "size")

    def __init__(self, name: str, minimum: int, maximum: int) -> None:
        if not isinstance(name, str):
            raise DTypeError(f"the name of a Variable is a string, got {name!r:.60}")
        if not name.isidentifier():
            raise OptionError(f"the name of a Variable is an identifier, got {name!r:.60}")
        self.name = name
        self.minimum, self.maximum = _integer(minimum, name), _integer(maximum, name)
        if not 0 <= self.minimum <= self.maximum <= LARGEST:
            raise OptionError(
                f"Variable {name}: bounds need 0 <= minimum <= maximum <= {LARGEST}, got "
                f"{minimum} and {maximum}"
            )
        self.size = size.variable(name, self.minimum, self.maximum)

    def bind(self, value: int) -> Bound:
        """Return the variable with a value: an integer, for which nothing is compiled anew.

        Raises:
            OptionError: if it lies outside of the bounds.
        """
        return Bound(self, _integer(value, self.name))

    __call__ = bind

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Variable) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"Variable({self.name!r}, {self.minimum}, {self.maximum})"

    @property
    def _key(self) -> tuple[str, int, int]:
        return self.name, self.minimum, self.maximum


def _integer(value: int, name: str) -> int:
    if type(value) is int:
        return value
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise DTypeError(f"Variable {name} stands for integers, got {value!r:.60}")
    return operator.index(value)


class Bound(_Base):
    """A variable with a value; see `Variable.bind`. It behaves as an integer.

    Attributes:
        variable: which one.
    """

    __slots__ = ("_value", "variable")

    variable: Variable
    _value: int

    def __new__(cls, variable: Variable, value: int) -> Bound:
        """Return `variable` with a value that is an integer."""
        if not variable.minimum <= value <= variable.maximum:
            raise OptionError(
                f"{user_line()}: {value} is none of the values of {variable}: "
                f"{variable.minimum} to {variable.maximum}"
            )
        made = object.__new__(cls)
        made.variable, made._value = variable, value
        return made

    @property
    def now(self) -> int:
        """What it is here: a size in a trace of a function that got it, else a number."""
        asked = size.asked()
        return asked.symbols.get(id(self), self._value) if isinstance(asked, Sizes) else self._value

    @property
    def value(self) -> int:
        """The number; in a trace this is a condition of the capture."""
        return int(self.now)

    def __repr__(self) -> str:
        return f"{self.variable!r}.bind({self._value})"

    def __str__(self) -> str:
        return str(self.now)

    def __hash__(self) -> int:
        return hash(self.now)

    def __format__(self, spec: str) -> str:
        return format(self.now, spec)


def _forward(name: str) -> Callable[..., Any]:
    apply = getattr(operator, name)

    def method(self: Bound, *others: Any) -> Any:
        return apply(self.now, *[each.now if isinstance(each, Bound) else each for each in others])

    return method


def _reflect(name: str) -> Callable[..., Any]:
    apply = getattr(operator, name)

    def method(self: Bound, other: Any) -> Any:
        return apply(other, self.now)

    return method


for _name in ("add", "sub", "mul", "floordiv", "mod", "truediv", "pow"):
    setattr(Bound, f"__{_name}__", _forward(f"__{_name}__"))
    setattr(Bound, f"__r{_name}__", _reflect(f"__{_name}__"))
for _name in ("eq", "ne", "lt", "le", "gt", "ge", "neg", "pos", "abs", "index"):
    setattr(Bound, f"__{_name}__", _forward(f"__{_name}__"))
for _name, _apply in (("int", int), ("bool", bool), ("float", float), ("divmod", divmod)):
    setattr(Bound, f"__{_name}__", lambda self, *others, apply=_apply: apply(self.now, *others))


@dataclass(frozen=True, slots=True)
class Condition:
    """What a trace has asked about a variable: which of its values get the same answer.

    Attributes:
        name: of the variable.
        low: smallest of these values.
        high: largest of them.
        why: line of the user's program, and what it asks.
    """

    name: str
    low: int
    high: int
    why: str

    def holds(self, values: Mapping[str, int]) -> bool:
        """Whether the answer is the same for other values of the variables."""
        return self.low <= values[self.name] <= self.high

    def __str__(self) -> str:
        which = self.low if self.low == self.high else f"{self.low} to {self.high}"
        return f"{self.why}, and was traced for {self.name} = {which}"


def _answer(value: int, relation: str) -> int:
    return value if relation == "value" else value < 0 if relation == "< 0" else value == 0


def _span_of(asked: Size, relation: str, answer: int, now: int) -> tuple[int, int] | None:
    """Return the values of the only variable of k * x + c that give the same answer.

    None if it is not of that kind, or only the value that it has now gives it.
    """
    if relation == "value" or len(asked.terms) != 1:
        return None
    [(atoms, k)] = asked.terms.items()
    if len(atoms) != 1 or atoms[0].op is not forms.VARIABLE:
        return None
    c, (_, low, high) = asked.constant, atoms[0].arg
    if relation == "== 0":
        if answer:
            return None
        root = -c // k
        return (root + 1, high) if now > root else (low, root - (root * k == -c))
    if not answer:  # k * x + c >= 0: not positive is the other way round
        k, c = -k, -c - 1
    last = (-1 - c) // k if k > 0 else -((1 + c) // k)  # k * x + c <= -1
    return (low, min(high, last)) if k > 0 else (max(low, last), high)


class Pinned(BaseException):  # no Exception: the user's `except` must not catch it
    """A trace needs the value of a variable: it begins anew, with the number in its place."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Sizes:
    """What is known of the sizes of one call; while it is traced, who answers questions.

    Attributes:
        values: of the variables, by name.
        shapes: of tensors with variables in them, by the tensor's identity.
        symbols: the size that a bound variable is, by its identity.
        conditions: what the trace has asked.
    """

    __slots__ = ("_from", "conditions", "shapes", "symbols", "values")

    def __init__(self) -> None:
        self.values: dict[str, int] = {}
        self.shapes: dict[int, Shape] = {}
        self.symbols: dict[int, int] = {}
        self.conditions: list[Condition] = []
        self._from: dict[str, tuple[Variable, str]] = {}

    def take(self, variable: Variable, value: int, where: str) -> int:
        """Note what a variable is; return it as a size.

        Raises:
            ShapeError: if the value is out of bounds, or another one elsewhere in the call.
        """
        if not variable.minimum <= value <= variable.maximum:
            raise ShapeError(
                f"{user_line()}: {where} is {value}, but {variable} is {variable.minimum} to "
                f"{variable.maximum}"
            )
        known, place = self._from.setdefault(variable.name, (variable, where))
        if known != variable:
            raise ShapeError(f"{user_line()}: {where} is {variable}, {place} is {known}")
        if self.values.setdefault(variable.name, value) != value:
            raise ShapeError(
                f"{user_line()}: {variable.name} is one size, but {value} in {where}, and "
                f"{self.values[variable.name]} in {place}"
            )
        return variable.size

    def take_bound(self, found: Iterable[Bound]) -> None:
        """Note the values of bound variables."""
        for each in found:
            self.symbols[id(each)] = self.take(each.variable, each._value, "a bound variable")

    def take_around(self, found: Iterable[Bound]) -> tuple[object, ...]:
        """Note bound variables that a function refers to; return what they are besides.

        One whose variable has another value already is a plain number: a class may have a default,
        and its instance another one.
        """
        others: list[object] = []
        for each in found:
            if self.values.get(each.variable.name, each._value) == each._value:
                self.take_bound((each,))
            else:
                others.append((each.variable.name, each._value))
        return tuple(others)

    def take_shape(self, tensor: Core, known: Known, where: str) -> None:
        """Note the sizes of a tensor."""
        shape, found = known
        for variable, value in found:
            before = self._from.get(variable.name)
            is_known = before is not None and before[0] is variable
            if not is_known or self.values[variable.name] != value:
                self.take(variable, value, where)
        former = self.shapes.get(id(tensor))
        if former is not None:  # the same tensor in two places
            shape = tuple(
                [a if isinstance(a, Size) else b for a, b in zip(former, shape, strict=True)]
            )
        self.shapes[id(tensor)] = shape

    def holds(self, asked: Size, relation: str) -> bool:
        """Answer from the call that is traced."""
        return bool(self._note(asked, relation))

    def value(self, asked: Size) -> int:
        """Return the value in the call that is traced."""
        return self._note(asked, "value")

    def _note(self, asked: Size, relation: str) -> int:
        answer = _answer(asked.at(self.values), relation)
        if relation == "value":
            why = f"{user_line()} needs the value of {asked}"
        else:
            why = f"{user_line()} asks whether {relation_text(asked, relation)}"
        for node in asked.variables():
            name, now = node.arg[0], self.values[node.arg[0]]
            low, high = _span_of(asked, relation, answer, now) or (now, now)
            assert low <= now <= high, (asked, relation, now)
            known = [each for each in self.conditions if each.name == name]
            if not any(low <= each.low and each.high <= high for each in known):
                self.conditions.append(Condition(name, low, high, why))
            if low == high:
                raise Pinned(name)
        return answer

    def pin(self, name: str) -> None:
        """Let a variable be the number that it is in this call."""
        limits = {name: (self.values[name], self.values[name])}
        self.shapes = {key: replaced(shape, limits) for key, shape in self.shapes.items()}
        self.symbols = {key: replaced(n, limits) for key, n in self.symbols.items()}

    def limits(self) -> dict[str, tuple[int, int]]:
        """Return the bounds within which all answers are the same."""
        found: dict[str, tuple[int, int]] = {}
        for each in self.conditions:
            variable = self._from[each.name][0]
            low, high = found.get(each.name, (variable.minimum, variable.maximum))
            found[each.name] = max(low, each.low), min(high, each.high)
        return found


Axes = Mapping[int, Variable]


class Declared:
    """Which axes of which arguments are variables: the option `sizes` of `jit`.

    Args:
        function: whose arguments they are.
        sizes: for each name of a parameter, {axis: variable}.

    Raises:
        OptionError: if there is no such parameter.
        DTypeError: if `sizes` is anything else.
    """

    def __init__(self, function: Callable[..., Any], sizes: Mapping[str, Axes]) -> None:
        if not isinstance(sizes, Mapping):
            raise DTypeError(f"jit: sizes are {{name: {{axis: Variable}}}}, got {sizes!r:.80}")
        self._sizes = {name: _axes(name, axes) for name, axes in sizes.items()}
        self._known: dict[tuple[str, Shape], Known] = {}
        parameters = inspect.signature(function).parameters
        kinds = [(name, each.kind) for name, each in parameters.items()]
        self._open = any(kind is inspect.Parameter.VAR_KEYWORD for _, kind in kinds)
        self._places = {
            name: slice(i, None if kind is inspect.Parameter.VAR_POSITIONAL else i + 1)
            for i, (name, kind) in enumerate(kinds)
            if kind is not inspect.Parameter.KEYWORD_ONLY
            and kind is not inspect.Parameter.VAR_KEYWORD
        }
        for name in sizes:
            if name not in parameters and not self._open:
                raise OptionError(
                    f"jit: sizes of {name!r}, but the parameters are {', '.join(parameters)}"
                )

    def of_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Sizes:
        """Return the sizes of one call."""
        found = Sizes()
        for name, axes in self._sizes.items():
            place = self._places.get(name)
            values = list(args[place]) if place is not None else []
            if name in kwargs:
                values.append(kwargs[name])
            for value in values:
                for each in (value,) if isinstance(value, Core) else _tensors(value, name):
                    shape = each.shape
                    known = self._known.get((name, shape))
                    if known is None:
                        known = self._note(name, shape, axes)
                    found.take_shape(each, known, name)
        return found

    def _note(self, name: str, shape: Shape, axes: Axes) -> Known:
        """Return a shape with its sizes, and what these are; remember that."""
        symbolic, values = list(shape), []
        for axis, variable in axes.items():
            if not -len(shape) <= axis < len(shape):
                raise ShapeError(
                    f"{user_line()}: {name} has shape {shape}, and no axis {axis} to be "
                    f"{variable.name}"
                )
            symbolic[axis] = Sizes().take(variable, shape[axis], f"axis {axis} of {name}")
            values.append((variable, shape[axis]))
        if len(self._known) >= MOST_SHAPES:
            self._known.clear()
        self._known[name, shape] = known = tuple(symbolic), tuple(values)
        return known


def _axes(name: str, axes: Any) -> Axes:
    is_mapping = isinstance(axes, Mapping)
    if not is_mapping or any(
        type(axis) is not int or not isinstance(each, Variable) for axis, each in axes.items()
    ):
        raise DTypeError(f"jit: sizes of {name!r} are {{axis: Variable}}, got {axes!r:.80}")
    return dict(axes)


def _tensors(value: Any, name: str) -> Iterator[Core]:
    """Yield the tensors in an argument."""
    if isinstance(value, Core):
        yield value
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _tensors(each, name)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _tensors(each, name)
    elif value is not None:
        raise DTypeError(
            f"{user_line()}: {name} has axes that are variables, so it is a tensor, or a list, "
            f"tuple or dict of tensors; got {value!r:.60}"
        )

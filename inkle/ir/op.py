"""What an operation is: one record that every layer of the compiler reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from inkle.errors import DTypeError
from inkle.ir.dtype import DType, Kind, bool_

BOOL = frozenset({Kind.BOOL})
INTEGER = frozenset({Kind.INT, Kind.UINT, Kind.INDEX})
FLOAT = frozenset({Kind.FLOAT})
NUMBER = INTEGER | FLOAT
BITS = INTEGER | BOOL
ANY = NUMBER | BOOL

DTypeRule = Callable[["Op", tuple[DType, ...]], DType]


def same(op: Op, sources: tuple[DType, ...]) -> DType:
    """All sources have one dtype, which is also the dtype of the result."""
    first = sources[0]
    for other in sources[1:]:
        if other is not first:
            names = ", ".join(source.name for source in sources)
            raise DTypeError(f"{op.name} needs equal dtypes, got {names}; cast one side first")
    if first.kind not in op.kinds:
        allowed = ", ".join(sorted(kind.value for kind in op.kinds if kind is not Kind.INDEX))
        raise DTypeError(f"{op.name} needs {allowed}, got {first}; convert first, e.g. x.cast(...)")
    return first


def comparison(op: Op, sources: tuple[DType, ...]) -> DType:
    """Like `same`, but the result is bool."""
    same(op, sources)
    return bool_


def selection(op: Op, sources: tuple[DType, ...]) -> DType:
    """First source is bool; the other two agree and give the dtype of the result."""
    if sources[0] is not bool_:
        raise DTypeError(f"{op.name} needs a bool condition, got {sources[0]}; compare it with 0")
    return same(op, sources[1:])


def structural(op: Op, sources: tuple[DType, ...]) -> DType:
    """Structural operations say their dtype when they are built."""
    raise DTypeError(f"{op.name} has no dtype rule; build it with its constructor")


@dataclass(frozen=True, eq=False, slots=True)
class Op:
    """One operation. Elementwise ones have a `meaning`; structural ones are described by `text`.

    Attributes:
        name: lower-case name, unique.
        arity: number of sources; -1: any number.
        meaning: the definition, `meaning(m, *sources)`; `m` is an algebra that supplies what Python
            operators lack (`where`, `less`, ...). Runs over Python numbers, NumPy arrays, Z3 terms,
            intervals and graph nodes. None for structural operations.
        dtype_rule: checks the dtypes of the sources and returns that of the result.
        kinds: dtype families that `dtype_rule` accepts.
        derivative: `(g, out, *sources) -> one gradient per source (None: zero)`, written with node
            operators; None if the derivative is zero everywhere.
        composite: whether `meaning` uses other operations only, so that it can always be expanded.
        text: one sentence of semantics for structural operations.
        commutative, associative, idempotent: laws. For floats, associativity holds up to rounding
            and is used inside a REDUCE only.
        is_elementwise: whether it has a meaning, and works element by element.
        identity: `dtype -> e` with `op(x, e) == x`: where a reduction starts. None: no identity.
    """

    name: str
    arity: int
    meaning: Callable[..., Any] | None = None
    dtype_rule: DTypeRule = structural
    kinds: frozenset[Kind] = NUMBER
    derivative: Callable[..., tuple[Any, ...]] | None = None
    composite: bool = False
    text: str = ""
    commutative: bool = False
    associative: bool = False
    idempotent: bool = False
    identity: Callable[[DType], bool | int | float] | None = None
    is_elementwise: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_elementwise", self.meaning is not None)

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name: operations are compared by identity."""
        return _by_name, (self.name,)


def _by_name(name: str) -> Op:
    from inkle.ir import forms, ops  # noqa: PLC0415  (tables import this module)

    return ops.TABLE.get(name) or forms.TABLE[name]

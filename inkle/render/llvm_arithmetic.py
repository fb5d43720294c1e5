"""Elementwise operations, casts and combinations across lanes, in LLVM IR."""

from __future__ import annotations

from inkle.errors import RenderError
from inkle.ir import ops
from inkle.ir.dtype import DType, Kind, bfloat16, float32, float64, uint32
from inkle.ir.op import Op
from inkle.ir.program import Value
from inkle.render.llvm_text import LlvmText, type_of_mask, zero
from inkle.render.llvm_types import (
    COMPARISON,
    DOT,
    INSTRUCTION,
    INTRINSIC,
    literal,
    suffix,
    type_of,
)


class LlvmArithmetic(LlvmText):
    """Writes values that compute; see `inkle.render.llvm`."""

    def _splat(self, value: Value) -> str:
        kind = type_of(value.dtype, value.lanes)
        scalar = f"{type_of(value.dtype, 1)} {self._names[value.src[0]]}"
        one = self._new(f"insertelement {kind} poison, {scalar}, i64 0")
        zeros = f"<{value.lanes} x i32> zeroinitializer"
        return self._new(f"shufflevector {kind} {one}, {kind} poison, {zeros}")

    def _iota(self, value: Value) -> str:
        base = type_of(value.dtype, 1)
        return "<" + ", ".join(f"{base} {i * value.arg}" for i in range(value.lanes)) + ">"

    def _operation(self, value: Value) -> str:
        op, first = value.code, value.src[0]
        assert isinstance(op, Op)
        operand = value.src[-1]
        dtype, kind = operand.dtype, type_of(operand.dtype, operand.lanes)
        args = [self._names[source] for source in value.src]
        if op is ops.WHERE:
            return self._select(value, args)
        if op is ops.CAST:
            return self._cast(first, value, args[0])
        if op is ops.BITCAST:
            return self._new(f"bitcast {kind} {args[0]} to {type_of(value.dtype, value.lanes)}")
        if op in INTRINSIC and dtype.is_float:
            return self._intrinsic(INTRINSIC[op], dtype, operand.lanes, args)
        table = INSTRUCTION.get(op) or COMPARISON.get(op)
        if table is not None and dtype.kind in table:
            return self._new(f"{table[dtype.kind]} {kind} {', '.join(args)}")
        return self._spelled(op, dtype, operand.lanes, args)

    def _dot(self, value: Value) -> str:
        if value.arg not in DOT:
            raise RenderError(f"LLVM: no spelling for the instruction {value.arg}")
        function, kind, is_swapped = DOT[value.arg]
        sums, *tiles = value.src
        words = [f"{type_of(each.dtype, each.lanes)} {self._names[each]}" for each in tiles]
        operands = [(kind, self._new(f"bitcast {each} to {kind}")) for each in words]
        total = type_of(sums.dtype, sums.lanes)
        args = [(total, self._names[sums]), *(operands[::-1] if is_swapped else operands)]
        return self._new(self._call(total, f"@{function}", args))

    def _select(self, value: Value, args: list[str]) -> str:
        condition = type_of(value.src[0].dtype, value.src[0].lanes)
        kind = type_of(value.dtype, value.lanes)
        return self._new(f"select {condition} {args[0]}, {kind} {args[1]}, {kind} {args[2]}")

    def _spelled(self, op: Op, dtype: DType, lanes: int, args: list[str]) -> str:
        """Operations that take a few instructions."""
        kind = type_of(dtype, lanes)
        if op is ops.NEG:
            return self._new(
                f"fneg {kind} {args[0]}"
                if dtype.is_float
                else f"sub {kind} {zero(lanes)}, {args[0]}"
            )
        if op is ops.NOT:
            ones = (
                literal(True, dtype, lanes)
                if dtype.kind is Kind.BOOL
                else literal(-1, dtype, lanes)
            )
            return self._new(f"xor {kind} {args[0]}, {ones}")
        if op is ops.ABS:
            return args[0] if dtype.kind is Kind.UINT else self._absolute(dtype, lanes, args[0])
        if op in (ops.MAXIMUM, ops.MINIMUM):
            return self._extremum(op, dtype, lanes, args)
        if op in (ops.SHL, ops.SHR):
            count = self._new(f"and {kind} {args[1]}, {literal(dtype.bits - 1, dtype, lanes)}")
            code = "shl" if op is ops.SHL else "ashr" if dtype.kind is Kind.INT else "lshr"
            return self._new(f"{code} {kind} {args[0]}, {count}")
        if op in (ops.TRUNCDIV, ops.TRUNCMOD):
            return self._division(op, dtype, lanes, args)
        raise RenderError(f"LLVM: no spelling for {op} on {dtype}; it should have been decomposed")

    def _absolute(self, dtype: DType, lanes: int, arg: str) -> str:
        """Of an integer; that of the lowest one wraps to itself."""
        kind = type_of(dtype, lanes)
        function = f"@llvm.abs.{suffix(dtype, lanes)}"
        return self._new(self._call(kind, function, [(kind, arg), ("i1", "false")]))

    def _extremum(self, op: Op, dtype: DType, lanes: int, args: list[str]) -> str:
        """`where(b < a or a is NaN, a, b)`: `b < a or unordered`, unless only b is NaN."""
        kind = type_of(dtype, lanes)
        if not dtype.is_float:
            name = ("u" if dtype.kind is Kind.UINT else "s") + (
                "max" if op is ops.MAXIMUM else "min"
            )
            return self._intrinsic(name, dtype, lanes, args)
        a, b = args
        code = "ogt" if op is ops.MAXIMUM else "olt"
        mask = type_of_mask(lanes)
        larger = self._new(f"fcmp {code} {kind} {a}, {b}")
        chosen = self._new(f"select {mask} {larger}, {kind} {a}, {kind} {b}")  # one vmaxps
        unordered = self._new(f"fcmp uno {kind} {a}, {a}")
        return self._new(f"select {mask} {unordered}, {kind} {a}, {kind} {chosen}")

    def _division(self, op: Op, dtype: DType, lanes: int, args: list[str]) -> str:
        """Total division: x // 0 == 0, x % 0 == x, and lowest // -1 wraps; nothing traps."""
        kind, mask = type_of(dtype, lanes), type_of_mask(lanes)
        unsigned = dtype.kind is Kind.UINT
        code = ("u" if unsigned else "s") + ("div" if op is ops.TRUNCDIV else "rem")
        a, b = args
        if _is_safe_divisor(b):
            return self._new(f"{code} {kind} {a}, {b}")
        zero, one = literal(0, dtype, lanes), literal(1, dtype, lanes)
        bad = self._new(f"icmp eq {kind} {b}, {zero}")
        safe = self._new(f"select {mask} {bad}, {kind} {one}, {kind} {b}")
        if not unsigned:
            minus = self._new(f"icmp eq {kind} {b}, {literal(-1, dtype, lanes)}")
            safe = self._new(f"select {mask} {minus}, {kind} {one}, {kind} {safe}")
        plain = self._new(f"{code} {kind} {a}, {safe}")
        if op is ops.TRUNCDIV and not unsigned:
            negated = self._new(f"sub {kind} {zero}, {a}")
            plain = self._new(f"select {mask} {minus}, {kind} {negated}, {kind} {plain}")
        other = zero if op is ops.TRUNCDIV else a
        return self._new(f"select {mask} {bad}, {kind} {other}, {kind} {plain}")

    def _cast(self, source: Value, value: Value, arg: str) -> str:
        """Casts as the op table defines them: truncating, saturating, NaN to 0.

        A bfloat16 is held as its bits: what LLVM does with its own type depends on the processor.
        """
        old, new, lanes = source.dtype, value.dtype, value.lanes
        if old is new:
            return arg
        if old is bfloat16:
            arg, old = self._from_bfloat16(arg, lanes), float32
            return arg if new is float32 else self._cast_plain(old, new, lanes, arg)
        if new is not bfloat16:
            return self._cast_plain(old, new, lanes, arg)
        if not old.is_float or old.bits == 16:
            exact = float32 if old.bits <= 16 else float64
            arg, old = self._cast_plain(old, exact, lanes, arg), exact
        single = self._round_to_odd(arg, lanes) if old is float64 else arg
        return self._round_to_bfloat16(single, lanes)

    def _cast_plain(self, old: DType, new: DType, lanes: int, arg: str) -> str:
        """Casts between types that LLVM has."""
        from_kind, to_kind = type_of(old, lanes), type_of(new, lanes)
        if from_kind == to_kind:
            return arg
        if new.kind is Kind.BOOL:
            code = "fcmp une" if old.is_float else "icmp ne"
            return self._new(f"{code} {from_kind} {arg}, {literal(0, old, lanes)}")
        if old.is_float and new.is_float:
            code = "fpext" if new.bits > old.bits else "fptrunc"
            return self._new(f"{code} {from_kind} {arg} to {to_kind}")
        if old.is_float:
            name = "fptoui" if new.kind is Kind.UINT else "fptosi"
            function = f"@llvm.{name}.sat.{suffix(new, lanes)}.{suffix(old, lanes)}"
            return self._new(self._call(to_kind, function, [(from_kind, arg)]))
        unsigned = old.kind in (Kind.UINT, Kind.BOOL)
        if new.is_float:
            return self._new(f"{'ui' if unsigned else 'si'}tofp {from_kind} {arg} to {to_kind}")
        wide, narrow = new.bits or 64, 1 if old.kind is Kind.BOOL else old.bits or 64
        code = "trunc" if wide < narrow else "zext" if unsigned else "sext"
        return self._new(f"{code} {from_kind} {arg} to {to_kind}")

    def _from_bfloat16(self, arg: str, lanes: int) -> str:
        """Return the float32 of which a bfloat16 is the upper half."""
        bits, half = type_of(uint32, lanes), type_of(bfloat16, lanes)
        wide = self._new(f"zext {half} {arg} to {bits}")
        high = self._new(f"shl {bits} {wide}, {literal(16, uint32, lanes)}")
        return self._new(f"bitcast {bits} {high} to {_floats(lanes)}")

    def _round_to_odd(self, arg: str, lanes: int) -> str:
        """Return a float64 as float32, inexact ones with an odd last bit.

        Rounding that again to a narrower format gives the correctly rounded result (Boldo and
        Melquiond 2008); LLVM would call a library for the direct conversion.
        """
        wide, narrow = type_of(float64, lanes), type_of(float32, lanes)
        bits, mask = type_of(uint32, lanes), type_of_mask(lanes)
        rounded = self._new(f"fptrunc {wide} {arg} to {narrow}")
        back = self._new(f"fpext {narrow} {rounded} to {wide}")
        inexact = self._new(f"fcmp une {wide} {back}, {arg}")
        sizes = [self._intrinsic("fabs", float64, lanes, [each]) for each in (back, arg)]
        larger = self._new(f"fcmp ogt {wide} {sizes[0]}, {sizes[1]}")
        raw = self._new(f"bitcast {narrow} {rounded} to {bits}")
        below = self._new(f"sub {bits} {raw}, {literal(1, uint32, lanes)}")
        cut = self._new(f"select {mask} {larger}, {bits} {below}, {bits} {raw}")
        odd = self._new(f"or {bits} {cut}, {literal(1, uint32, lanes)}")
        chosen = self._new(f"select {mask} {inexact}, {bits} {odd}, {bits} {raw}")
        return self._new(f"bitcast {bits} {chosen} to {narrow}")

    def _round_to_bfloat16(self, arg: str, lanes: int) -> str:
        """Round a float32 to nearest even by its bits.

        Most processors lack the conversion, and AVX-512's flushes subnormals to zero.
        """
        bits, mask = type_of(uint32, lanes), type_of_mask(lanes)
        raw = self._new(f"bitcast {_floats(lanes)} {arg} to {bits}")
        high = self._new(f"lshr {bits} {raw}, {literal(16, uint32, lanes)}")
        odd = self._new(f"and {bits} {high}, {literal(1, uint32, lanes)}")
        bias = self._new(f"add {bits} {odd}, {literal(0x7FFF, uint32, lanes)}")
        sum_ = self._new(f"add {bits} {raw}, {bias}")
        rounded = self._new(f"lshr {bits} {sum_}, {literal(16, uint32, lanes)}")
        quiet = self._new(f"or {bits} {high}, {literal(0x40, uint32, lanes)}")  # stays a NaN
        unordered = self._new(f"fcmp uno {_floats(lanes)} {arg}, {arg}")
        chosen = self._new(f"select {mask} {unordered}, {bits} {quiet}, {bits} {rounded}")
        return self._new(f"trunc {bits} {chosen} to {type_of(bfloat16, lanes)}")

    def _across(self, value: Value) -> str:
        """Combine all lanes in a tree of halves: log2(lanes) steps, one fixed order."""
        op, source = value.arg, value.src[0]
        dtype, lanes, name = value.dtype, source.lanes, self._names[source]
        while lanes > 1:
            half = lanes // 2
            kind = type_of(dtype, lanes)
            parts = []
            for start in (0, half):
                places = ", ".join(f"i32 {start + i}" for i in range(half))
                picked = f"shufflevector {kind} {name}, {kind} poison, <{half} x i32> <{places}>"
                parts.append(self._new(picked))
            if half == 1:
                parts = [
                    self._new(f"extractelement <1 x {type_of(dtype, 1)}> {p}, i64 0") for p in parts
                ]
            table = INSTRUCTION.get(op)
            if table is not None and dtype.kind in table:
                name = self._new(
                    f"{table[dtype.kind]} {type_of(dtype, half)} {parts[0]}, {parts[1]}"
                )
            else:
                name = self._spelled(op, dtype, half, parts)
            lanes = half
        return name


def _floats(lanes: int) -> str:
    return "float" if lanes == 1 else f"<{lanes} x float>"


def _is_safe_divisor(text: str) -> bool:
    """Whether a divisor is a literal other than 0 and -1."""
    digits = text.removeprefix("splat (").rstrip(")").split()[-1] if text else ""
    return digits.lstrip("-").isdigit() and int(digits) not in (0, -1)

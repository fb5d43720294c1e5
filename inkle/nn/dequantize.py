"""What the blocks of GGUF files mean: expressions that turn bytes into float32.

A block holds 32 or 256 elements: integers q of a few bits, a scale d (float16) and, in some types,
a lower bound. Blocks of 256 ("K") have a scale of 4 to 8 bits for each 16 or 32 of their elements.
Every expression reads each byte where it is needed: nothing is unpacked before it is used.

Source: https://github.com/ggml-org/ggml, the layouts `block_q4_0` ... `block_q6_K` of its headers.
"""

from __future__ import annotations

from collections.abc import Callable

from inkle.ir.dtype import float16, float32, int8, int32, uint8, uint16
from inkle.tensor import Tensor

LINE = 32  # elements of a small block, and of a line of a large one


def _half(blocks: Tensor, start: int) -> Tensor:
    """Return the float16 at byte `start` of each block as float32, shape (blocks, 1)."""
    low, high = (blocks[:, start + i : start + i + 1].cast(uint16) for i in (0, 1))
    return (low | high << 8).bitcast(float16).cast(float32)


def _fields(data: Tensor, bits: int) -> Tensor:
    """Cut bytes into numbers of `bits` bits, the lowest first.

    Args:
        data: uint8, shape (..., n).
        bits: 1, 2 or 4.

    Returns:
        uint8, shape (..., 8 / bits, n).
    """
    shifts = (Tensor.arange(8 // bits) * bits).cast(uint8).reshape(-1, 1)
    return (data.unsqueeze(-2) >> shifts) & ((1 << bits) - 1)


def _bits(blocks: Tensor, start: int) -> Tensor:
    """Return the 32 bits from byte `start` on, shape (blocks, 32)."""
    data = blocks[:, start : start + 4].unsqueeze(-1)
    return ((data >> Tensor.arange(8).cast(uint8)) & 1).reshape(-1, 32)


def _signed(blocks: Tensor, start: int, count: int) -> Tensor:
    """Return `count` bytes from `start` on as signed numbers in float32."""
    return blocks[:, start : start + count].bitcast(int8).cast(float32)


def _nibbles(blocks: Tensor, start: int) -> Tensor:
    """Return 32 numbers of 4 bits: the low halves of 16 bytes, then the high ones."""
    return _fields(blocks[:, start : start + 16], 4).reshape(-1, LINE)


def _q4_0(b: Tensor) -> Tensor:
    return _half(b, 0) * (_nibbles(b, 2).cast(float32) - 8)


def _q4_1(b: Tensor) -> Tensor:
    return _half(b, 0) * _nibbles(b, 4).cast(float32) + _half(b, 2)


def _q5_0(b: Tensor) -> Tensor:
    return _half(b, 0) * ((_nibbles(b, 6) | _bits(b, 2) << 4).cast(float32) - 16)


def _q5_1(b: Tensor) -> Tensor:
    return _half(b, 0) * (_nibbles(b, 8) | _bits(b, 4) << 4).cast(float32) + _half(b, 2)


def _q8_0(b: Tensor) -> Tensor:
    return _half(b, 0) * _signed(b, 2, LINE)


def _q8_1(b: Tensor) -> Tensor:
    return _half(b, 0) * _signed(b, 4, LINE)


def _scaled(q: Tensor, scales: Tensor, offsets: Tensor | None = None) -> Tensor:
    """Return q * scale - offset, each row of q with one of each.

    Args:
        q: (blocks, rows, elements of a row) in any order that is (blocks, 256) when flat.
        scales: (blocks, rows).
        offsets: likewise.
    """
    count = scales.shape[1]
    rows = q.reshape(-1, count, 256 // count).cast(float32) * scales.unsqueeze(-1)
    return rows if offsets is None else rows - offsets.unsqueeze(-1)


def _q2_k(b: Tensor) -> Tensor:
    # 64 bytes in two halves; each half's bit pairs 0-1 of all 32 bytes, then 2-3, and so on.
    q = _fields(b[:, 16:80].reshape(-1, 2, LINE), 2)
    scales = b[:, :16]
    return _scaled(
        q,
        _half(b, 80) * (scales & 15).cast(float32),
        _half(b, 82) * (scales >> 4).cast(float32),
    )


def _q3_k(b: Tensor) -> Tensor:
    low = _fields(b[:, 32:96].reshape(-1, 2, LINE), 2).reshape(-1, 8, LINE)
    high = _fields(b[:, :32], 1)  # bit i of byte l belongs to element l of line i
    q = (low | high << 2).cast(int32) - 4
    # 16 scales of 6 bits: nibbles in bytes 0-7, then pairs of bits in bytes 8-11.
    nibbles = _fields(b[:, 96:104], 4).reshape(-1, 16)
    pairs = _fields(b[:, 104:108], 2).reshape(-1, 16)
    return _scaled(q, _half(b, 108) * ((nibbles | pairs << 4).cast(float32) - 32))


def _six_bits(b: Tensor) -> tuple[Tensor, Tensor]:
    """Return 8 scales and 8 offsets of 6 bits each from the 12 bytes behind two float16.

    The first four of each lie in the low 6 bits of bytes 0-3 and 4-7. The others have their low 4
    bits in bytes 8-11 (scales in the low halves), and their high 2 bits in those of bytes 0-7.
    """
    first, second, third = (b[:, i : i + 4] for i in (4, 8, 12))
    scales = Tensor.cat(first & 63, (third & 15) | (first >> 6) << 4, dim=1)
    offsets = Tensor.cat(second & 63, (third >> 4) | (second >> 6) << 4, dim=1)
    return _half(b, 0) * scales.cast(float32), _half(b, 2) * offsets.cast(float32)


def _q4_k(b: Tensor) -> Tensor:
    return _scaled(_fields(b[:, 16:144].reshape(-1, 4, LINE), 4), *_six_bits(b))


def _q5_k(b: Tensor) -> Tensor:
    low = _fields(b[:, 48:176].reshape(-1, 4, LINE), 4).reshape(-1, 8, LINE)
    return _scaled(low | _fields(b[:, 16:48], 1) << 4, *_six_bits(b))


def _q6_k(b: Tensor) -> Tensor:
    # Per half: low 4 bits in 64 bytes, the low halves of all of them first; high 2 bits in 32.
    low = _fields(b[:, :128].reshape(-1, 2, 2 * LINE), 4).reshape(-1, 2, 4, LINE)
    high = _fields(b[:, 128:192].reshape(-1, 2, LINE), 2)
    q = (low | high << 4).cast(int32) - 32
    return _scaled(q, _half(b, 208) * _signed(b, 192, 16))


def _q8_k(b: Tensor) -> Tensor:
    words = [b[:, i : i + 1].cast("uint32") << 8 * i for i in range(4)]
    scale = (words[0] | words[1] | words[2] | words[3]).bitcast(float32)
    return scale * _signed(b, 4, 256)


DEQUANTIZE: dict[str, Callable[[Tensor], Tensor]] = {
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "Q8_1": _q8_1,
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
    "Q8_K": _q8_k,
}

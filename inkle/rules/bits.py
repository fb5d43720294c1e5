"""Rules about bits of integers: and, or, xor, not, shifts."""

from __future__ import annotations

from inkle.rewrite.rule import FIXED, rule

RULES = (
    rule("bit_and_zero", lambda x: (x & 0, x.wrap(0)), FIXED),
    rule("bit_and_ones", lambda x: (x & -1, x), FIXED),
    rule("bit_or_zero", lambda x: (x | 0, x), FIXED),
    rule("bit_or_ones", lambda x: (x | -1, x.wrap(-1)), FIXED),
    rule("bit_xor_zero", lambda x: (x ^ 0, x), FIXED),
    rule("bit_xor_ones", lambda x: (x ^ -1, ~x), FIXED),
    rule("bit_and_same", lambda x: (x & x, x), FIXED),
    rule("bit_or_same", lambda x: (x | x, x), FIXED),
    rule("bit_xor_same", lambda x: (x ^ x, x.wrap(0)), FIXED),
    rule("bit_and_again", lambda x, y: ((x & y) & y, x & y), FIXED),
    rule("bit_or_again", lambda x, y: ((x | y) | y, x | y), FIXED),
    rule("bit_xor_again", lambda x, y: ((x ^ y) ^ y, x), FIXED),
    rule("bit_and_constants", lambda x, a, b: ((x & a) & b, x & (a & b)), FIXED),
    rule("bit_or_constants", lambda x, a, b: ((x | a) | b, x | (a | b)), FIXED),
    rule("bit_xor_constants", lambda x, a, b: ((x ^ a) ^ b, x ^ (a ^ b)), FIXED),
    rule("bit_and_or", lambda x, y: ((x | y) & y, y), FIXED),
    rule("bit_or_and", lambda x, y: ((x & y) | y, y), FIXED),
    rule("shift_left_zero", lambda x: (x << 0, x), FIXED),
    rule("shift_right_zero", lambda x: (x >> 0, x), FIXED),
    rule("zero_shift_left", lambda x: (x.wrap(0) << x, x.wrap(0)), FIXED),
    rule("zero_shift_right", lambda x: (x.wrap(0) >> x, x.wrap(0)), FIXED),
)

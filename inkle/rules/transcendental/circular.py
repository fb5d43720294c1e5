"""sin, cos, tan for every finite argument: |x| = n*pi/2 + r, |r| <= pi/4, and polynomials in r.

Near zero r is x minus n times pi/2 in three floats (Cody and Waite 1980). Far away it is found in
integers (Payne and Hanek 1983): with x = M * 2**(e - mantissa) and the bits of 1/(2*pi) as one
string, the fraction of x/(2*pi) is the product of M and three words of the string that start at
bit e. Whole turns overflow and vanish. A barrel shifter fetches the words: one `where` per word and
high bit of e, then shifts. A `where` on |x| < NEAR chooses: if bounds prove it, or if the generated
code skips a side that no lane needs, the costly half is gone.
"""

from __future__ import annotations

from itertools import pairwise

from inkle.ir.dtype import uint32, uint64
from inkle.ir.node import Node, const
from inkle.rules.transcendental.coefficients import COS, HALF_PI, INVERSE_TWO_PI, SIN, TAN, TWO_PI
from inkle.rules.transcendental.formats import (
    Format,
    flip_sign,
    format_of,
    in_float32,
    polynomial,
)

# Up to here n is the nearest integer or, rarely, the next: rounding 2/pi lets |r| reach 0.812.
NEAR = {32: 2.0**20, 64: 2.0**30}
TWO_OVER_PI = 0.6366197723675814
INVERSE_TWO_PI_BITS = 1280  # float64 uses 1023 + 3 * 64 - 52 of them
POSITIONS = {32: 4, 64: 16}  # words in which the window can start: exponents / width


def string_of_words(form: Format) -> list[Node]:
    """Return 1/(2*pi) in words of the format's width, after `mantissa` bits that are zero."""
    count = POSITIONS[form.bits] + 3
    string = INVERSE_TWO_PI >> (INVERSE_TWO_PI_BITS + form.mantissa - count * form.bits)
    mask = (1 << form.bits) - 1
    shifts = [form.bits * i for i in reversed(range(count))]
    return [const(string >> shift & mask, form.unsigned) for shift in shifts]


def window(exponent: Node, form: Format) -> list[Node]:
    """Return the three words of the string that start at bit `exponent` (modulo the exponents)."""
    words = string_of_words(form)
    step = POSITIONS[form.bits] // 2
    while step:
        skip = (exponent & (step * form.bits)).ne(0)
        words = [skip.where(words[i + step], words[i]) for i in range(step + 3)]
        step //= 2
    opposite = ~exponent  # modulo the width: width - 1 - exponent
    return [(high << exponent) | ((low >> 1) >> opposite) for high, low in pairwise(words)]


def multiply_high(x: Node, y: Node) -> Node:
    """Return the upper word of the product of two unsigned words."""
    if x.dtype is uint32:
        return ((x.cast(uint64) * y.cast(uint64)) >> 32).cast(uint32)
    half = x.dtype.bits // 2
    mask = (1 << half) - 1
    x0, x1, y0, y1 = x & mask, x >> half, y & mask, y >> half
    middle = x1 * y0 + ((x0 * y0) >> half)
    return x1 * y1 + (middle >> half) + ((x0 * y1 + (middle & mask)) >> half)


def turns(x: Node) -> tuple[Node, Node]:
    """Return the fraction of |x| / (2*pi), in two words, for 1 <= |x| < inf."""
    form = format_of(x)
    bits = x.bitcast(form.unsigned)
    # The bias is one less than a power of two: adding one leaves e, modulo the exponents.
    high, middle, low = window((bits >> form.mantissa) + 1, form)
    m = (bits & ((1 << form.mantissa) - 1)) | (1 << form.mantissa)
    carried = multiply_high(m, low)
    lower = m * middle + carried
    overflow = (lower < carried).cast(form.unsigned)
    return m * high + multiply_high(m, middle) + overflow, lower


def far_remainder(x: Node) -> tuple[Node, Node, Node]:
    """Do what `remainder` does, for 1 <= |x| < inf.

    The fraction of a turn becomes two floats, the first exact; where it is next to 0, the second
    has it all, so that cancellation costs nothing.
    """
    form = format_of(x)
    rest = form.bits - form.mantissa - 1
    upper, lower = turns(x)
    rounded = upper + (1 << (rest - 1))
    head = ((rounded << 2).bitcast(form.signed) >> (rest + 2)).cast(x.dtype)
    tail = ((upper << (form.mantissa + 1)) | (lower >> rest)).bitcast(form.signed).cast(x.dtype)
    high, low = TWO_PI[form.bits]
    unit = 2.0 ** (rest - form.bits)  # of the head, in turns
    fine = head.fma(low * unit, tail * (high * 2.0 ** (-form.mantissa - 1 - form.bits)))
    r = head.fma(high * unit, fine)
    # Rounded as the head is: next to an odd multiple of pi/4 the two must agree.
    return r, head.fma(high * unit, -r) + fine, rounded + (1 << (form.bits - 3))


def near_remainder(a: Node) -> tuple[Node, Node, Node]:
    """Do what `remainder` does, for 0 <= a < NEAR."""
    form = format_of(a)
    shifted = a.fma(TWO_OVER_PI, form.shifter)
    n = shifted - form.shifter
    high, middle, low = HALF_PI[form.bits]
    rough = n.fma(-high, a)  # exact: a multiple of the last place of `high`, and below 1
    product = n * middle
    r = rough - product
    error = n.fma(-low, ((rough - r) - product) - n.fma(middle, -product))
    return r, error, shifted.bitcast(form.unsigned) << (form.bits - 2)


def remainder(x: Node) -> tuple[Node, Node, Node]:
    """Return |x| less the nearest multiple of pi/2 as a sum, and that multiple modulo 4 on top.

    The third value has the multiple in its upper two bits. For infinities and NaN the first is NaN.
    """
    a = x.abs()
    near = a < NEAR[format_of(x).bits]
    pairs = zip(near_remainder(a), far_remainder(x), strict=True)
    r, error, quarters = [near.where(close, far) for close, far in pairs]
    return x.fma(0.0, r), error, quarters  # inf * 0 is NaN


def sine(r: Node, error: Node) -> Node:
    """Return sin(r + error), |r| <= 0.82, error below one ulp of r."""
    z = r * r
    return (polynomial(SIN[format_of(r).bits], z) * z).fma(r, error) + r


def cosine(r: Node, error: Node) -> Node:
    """Return cos(r + error), |r| <= 0.82, error below one ulp of r."""
    z = r * r
    return 1.0 - (polynomial((0.5, *COS[format_of(r).bits]), z) * z + r * error)


def is_odd(quarters: Node, form: Format) -> Node:
    """Whether a number of quarter turns, in the upper two bits, is odd."""
    return (quarters & (1 << (form.bits - 2))).ne(0)


@in_float32
def sin(x: Node) -> Node:
    """Return the sine."""
    form = format_of(x)
    r, error, quarters = remainder(x)
    y = is_odd(quarters, form).where(cosine(r, error), sine(r, error))
    return flip_sign(y, (quarters ^ x.bitcast(form.unsigned)) & form.sign_bit)


@in_float32
def cos(x: Node) -> Node:
    """Return the cosine."""
    form = format_of(x)
    r, error, quarters = remainder(x)
    y = is_odd(quarters, form).where(sine(r, error), cosine(r, error))
    return flip_sign(y, (quarters + (1 << (form.bits - 2))) & form.sign_bit)


@in_float32
def tan(x: Node) -> Node:
    """Return the tangent: that of the remainder, or -1 over it after an odd number of quarters."""
    form = format_of(x)
    r, error, quarters = remainder(x)
    z = r * r
    curve = (polynomial(TAN[form.bits], z) * z) * r
    t = r + curve
    curve = t.fma(t, 1.0).fma(error, curve)  # the derivative is 1 + t*t
    t = r + curve
    inverse = -1.0 / t
    inverse = (inverse * inverse).fma(curve - (t - r), inverse)  # of what the last sum lost
    y = is_odd(quarters, form).where(inverse, t)
    return flip_sign(y, x.bitcast(form.unsigned) & form.sign_bit)

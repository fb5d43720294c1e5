"""Fit the polynomials of the transcendental functions, and write them as a table.

    python tools/fit_polynomials.py            write inkle/rules/transcendental/coefficients.py
    python tools/fit_polynomials.py --check    exit with 1 if this program would write another file

Each polynomial is a minimax fit (Remez' exchange on a dense Chebyshev grid, in 200-bit arithmetic;
Cheney, Introduction to Approximation Theory, ch. 3) of the error relative to the function. Then the
coefficients are rounded to the format one by one, lowest power first, and the rest is fitted again
each time, so that the later ones make up for the rounding of the earlier ones.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import mpmath
import numpy as np
from mpmath import mp, mpf

mp.prec = 200
GRID_PER_NODE = 30  # grid points per extremum; more did not change the coefficients
TARGET = Path(__file__).parents[1] / "inkle/rules/transcendental/coefficients.py"

Real = Callable[[mpf], mpf]


@dataclass(frozen=True, slots=True)
class Fit:
    """One polynomial: `p(x)` ~ `value(x)` on [low, high], error weighed with `weight(x)`.

    Attributes:
        text: the approximation in words, for the comment in the table.
        low, high: the interval; a pair of upper ends is one for float32, one for float64.
        degrees: degree for float32, for float64; None: the format has another row.
    """

    name: str
    text: str
    value: Real
    weight: Real
    low: mpf
    high: mpf | tuple[mpf, mpf]
    degrees: tuple[int | None, int | None]


def chebyshev_grid(low: mpf, high: mpf, count: int) -> list[mpf]:
    """Return `count` Chebyshev nodes of the interval, rising; its ends are not among them."""
    angles = [mp.pi * (2 * i + 1) / (2 * count) for i in range(count)]
    return [(low + high) / 2 - (high - low) / 2 * mp.cos(angle) for angle in angles]


def horner(coefficients: list[mpf], x: mpf) -> mpf:
    """Return the polynomial with `coefficients`, lowest power first, at x."""
    total = mpf(0)
    for c in reversed(coefficients):
        total = total * x + c
    return total


def remez(grid: list[mpf], values: list[mpf], weights: list[mpf], degree: int) -> list[mpf]:
    """Return the coefficients, lowest power first, that minimise the largest weighted error."""
    count = degree + 2
    picked = [int((i + 0.5) * len(grid) / count) for i in range(count)]
    for _ in range(60):
        rows = [
            [grid[i] ** k for k in range(degree + 1)] + [(-1) ** n / weights[i]]
            for n, i in enumerate(picked)
        ]
        solution = mpmath.lu_solve(mpmath.matrix(rows), mpmath.matrix([values[i] for i in picked]))
        coefficients = list(solution[: degree + 1])
        errors = [
            w * (horner(coefficients, x) - y) for x, y, w in zip(grid, values, weights, strict=True)
        ]
        new = alternating_extrema(errors, count)
        if len(new) < count or new == picked:
            break
        picked = new
    return coefficients


def alternating_extrema(errors: list[mpf], count: int) -> list[int]:
    """Return `count` positions of alternating, large errors (fewer if there are no more)."""
    runs: list[int] = []
    for i, error in enumerate(errors):
        if runs and (error > 0) == (errors[runs[-1]] > 0):
            if abs(error) > abs(errors[runs[-1]]):
                runs[-1] = i
        else:
            runs.append(i)
    while len(runs) > count:
        if len(runs) == count + 1:
            runs.pop(0 if abs(errors[runs[0]]) < abs(errors[runs[-1]]) else -1)
            break
        # Without its weakest run the two beside it have one sign: the weaker of them goes too.
        k = min(range(len(runs)), key=lambda n: abs(errors[runs[n]]))
        beside = [n for n in (k - 1, k + 1) if 0 <= n < len(runs)]
        weaker = min(beside, key=lambda n: abs(errors[runs[n]]))
        for n in sorted({k, weaker} if len(beside) == 2 else {k}, reverse=True):
            runs.pop(n)
    return runs


def round_to(value: mpf, bits: int) -> float:
    """Return `value` rounded to nearest even in float32 or float64."""
    mantissa = {32: 24, 64: 53}[bits]
    with mp.workprec(mantissa):
        return float(+value)


def fit(spec: Fit, bits: int) -> tuple[list[float], float]:
    """Return the rounded coefficients, lowest power first, and log2 of the largest error."""
    degree = spec.degrees[bits == 64]
    assert degree is not None
    high = spec.high[bits == 64] if isinstance(spec.high, tuple) else spec.high
    grid = chebyshev_grid(spec.low, high, (degree + 2) * GRID_PER_NODE)
    values = [spec.value(x) for x in grid]
    weights = [abs(spec.weight(x)) for x in grid]
    rest, scale, rounded = values, weights, []
    for k in range(degree + 1):
        first = round_to(remez(grid, rest, scale, degree - k)[0], bits)
        rounded.append(first)
        rest = [(y - first) / x for x, y in zip(grid, rest, strict=True)]
        scale = [w * abs(x) for x, w in zip(grid, scale, strict=True)]
    exact = [mpf(c) for c in rounded]
    worst = max(
        abs(w * (horner(exact, x) - y)) for x, y, w in zip(grid, values, weights, strict=True)
    )
    return rounded, float(mp.log(worst, 2))


def odd(function: Real, scale: int = 1) -> tuple[Real, Real]:
    """Return value and weight of P in f(r) = r*scale + r*z*P(z), z = r*r."""

    def value(z: mpf) -> mpf:
        r = mp.sqrt(z)
        return (function(r) / r - scale) / z

    return value, lambda z: z * mp.sqrt(z) / function(mp.sqrt(z))


def curve_of_erfc(k: float) -> Real:
    """Return q -> erfc(a) * exp(a*a) * (1 + 2a) - 1, where q = (a - k) / (a + k)."""

    def value(q: mpf) -> mpf:
        a = k * (1 + q) / (1 - q)
        return (1 + 2 * a) * mp.exp(a * a) * mp.erfc(a) - 1

    return value


def ratio(a: str, k: float) -> mpf:
    """Return (a - k) / (a + k)."""
    return (mpf(a) - k) / (mpf(a) + k)


HALF_LN2 = mp.log(2) / 2 * mpf("1.002")  # rounding of x * log2(e) lets |r| pass ln(2)/2 a little
LOG_EDGE = mpf(1) / 3 * mpf("1.0001")
SPECS = (
    Fit("EXPM1", "exp(r) = 1 + r + r*r*P(r), |r| <= ln(2)/2; weighed for expm1(r)",
        lambda r: (mp.expm1(r) - r) / r**2, lambda r: r**2 / mp.expm1(r),
        -HALF_LN2, HALF_LN2, (4, 9)),
    Fit("EXP2", "2**r = 1 + r*P(r), |r| <= 1/2",
        lambda r: (2**r - 1) / r, lambda r: r / 2**r, mpf(-0.5), mpf(0.5), (5, 11)),
    Fit("LOG1P", "log(1 + f) = f - f*f/2 + f*f*f*P(f), |f| <= 1/3",
        lambda f: (mp.log1p(f) - f + f * f / 2) / f**3, lambda f: f**3 / mp.log1p(f),
        -LOG_EDGE, LOG_EDGE, (7, 19)),
    Fit("SIN", "sin(r) = r + r*z*P(z), z = r*r, |r| <= 0.82",
        *odd(mp.sin), mpf(0), mpf("0.82") ** 2, (2, 5)),
    Fit("COS", "cos(r) = 1 - z*(1/2 + z*P(z)), z = r*r, |r| <= 0.82",
        lambda z: ((1 - mp.cos(mp.sqrt(z))) / z - 0.5) / z, lambda z: z**2 / mp.cos(mp.sqrt(z)),
        mpf(0), mpf("0.82") ** 2, (2, 5)),
    Fit("TAN", "tan(r) = r + r*z*P(z), z = r*r, |r| <= 0.82",
        *odd(mp.tan), mpf(0), mpf("0.82") ** 2, (6, 15)),
    Fit("SINH", "sinh(r) = r + r*z*P(z), z = r*r, |r| <= 1",
        *odd(mp.sinh), mpf(0), mpf(1), (3, 6)),
    Fit("TANH", "tanh(r) = r + r*z*P(z), z = r*r, |r| <= 0.55",
        *odd(mp.tanh), mpf(0), mpf("0.55") ** 2, (4, 10)),
    Fit("ERF", "erf(r) = r + r*P(z), z = r*r, |r| <= 0.92",
        lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1, lambda z: mp.sqrt(z) / mp.erf(mp.sqrt(z)),
        mpf(0), mpf("0.92") ** 2, (6, 11)),
    Fit("LOG_ERFC", "log(erfc(r)) = P(r), 0.92 <= r <= 4 or 6; weighed for erf(r)",
        lambda r: mp.log(mp.erfc(r)), lambda r: mp.erfc(r) / mp.erf(r),
        mpf("0.92"), (mpf(4), mpf(6)), (6, 18)),
    Fit("ERFC",
        "erfc(a)*exp(a*a)*(1 + 2a) = 1 + P(q), q = (a - k)/(a + k), k = 2.5, 0.47 <= a <= 10.1",
        curve_of_erfc(2.5), lambda q: 1 / (1 + curve_of_erfc(2.5)(q)),
        ratio("0.47", 2.5), ratio("10.1", 2.5), (9, None)),
    Fit("ERFC", "the same with k = 4, a <= 27.3",
        curve_of_erfc(4.0), lambda q: 1 / (1 + curve_of_erfc(4.0)(q)),
        ratio("0.47", 4.0), ratio("27.3", 4.0), (None, 22)),
    Fit("ASIN", "asin(r) = r + r*z*P(z), z = r*r, |r| <= 1/2",
        *odd(mp.asin), mpf(0), mpf("0.25"), (4, 12)),
    Fit("ATAN", "atan(r) = r + r*z*P(z), z = r*r, |r| <= 1",
        *odd(mp.atan), mpf(0), mpf(1), (8, 19)),
    Fit("ASINH", "asinh(r) = r + r*z*P(z), z = r*r, |r| <= 1.1753",
        *odd(mp.asinh), mpf(0), mpf("1.1753") ** 2, (8, 22)),
    Fit("ACOSH", "acosh(1 + t) = s + s*t*P(t), s = sqrt(2t), 0 <= t <= 0.5431",
        lambda t: (mp.acosh(1 + t) / mp.sqrt(2 * t) - 1) / t,
        lambda t: t * mp.sqrt(2 * t) / mp.acosh(1 + t), mpf(0), mpf("0.5431"), (4, 11)),
    Fit("ATANH", "atanh(r) = r + r*z*P(z), z = r*r, |r| <= 1/2",
        *odd(mp.atanh), mpf(0), mpf("0.25"), (5, 13)),
    Fit("LOG2", "log2((1 + q)/(1 - q)) = 2/log(2) * (q + q*s/3) + q*s*s*P(s), s = q*q, |q| <= 1/5",
        lambda s: (2 * mp.atanh(mp.sqrt(s)) / mp.sqrt(s) - 2 - 2 * s / 3) / mp.log(2) / s**2,
        lambda s: s**2 * mp.log(2) * mp.sqrt(s) / 2 / mp.atanh(mp.sqrt(s)),
        mpf(0), mpf("0.04001"), (2, 8)),
)  # fmt: skip
SUMS = {
    "TWO_PI": (2 * mp.pi, 2),
    "HALF_PI": (mp.pi / 2, 3),
    "LOG2_E": (1 / mp.log(2), 2),
    "LOG10_E": (1 / mp.log(10), 2),
    "LOG10_2": (mp.log10(2), 2),
    "TWO_LOG2_E": (2 / mp.log(2), 2),
    "TWO_THIRDS_LOG2_E": (2 / mp.log(2) / 3, 2),
}


def split_sum(value: mpf, terms: int, bits: int) -> list[float]:
    """Return floats whose sum is `value` to `terms` times the precision of the format."""
    out = []
    for _ in range(terms):
        out.append(round_to(value, bits))
        value -= out[-1]
    return out


def number(value: float, bits: int) -> str:
    """Return the shortest decimal that reads back as `value` in its format."""
    return repr(float(str(np.float32(value)))) if bits == 32 else repr(value)


def numbers(values: Sequence[float], bits: int) -> list[str]:
    """Return the lines of one entry of a table."""
    text = " ".join(number(value, bits) for value in values)
    if len(text) < 76:
        return [f'    {bits}: numbers("{text}"),']
    lines = textwrap.wrap(text, 92)
    return [f'    {bits}: numbers("""', *[f"        {line}" for line in lines], '    """),']


def inverse_two_pi(bits: int) -> list[str]:
    """Return the leading bits of the fraction of 1/(2*pi), in lines of hexadecimal digits."""
    with mp.workprec(bits + 64):
        digits = f"{int(mp.floor(mpf(2) ** bits / (2 * mp.pi))):0{bits // 4}x}"
    return [digits[i : i + 80] for i in range(0, len(digits), 80)]


def entry(spec: Fit, bits: int) -> list[str]:
    """Return the lines of one polynomial in the table."""
    coefficients, error = fit(spec, bits)
    return [f"    # error 2**{error:.1f}", *numbers(coefficients, bits)]


HEADER = '''"""Coefficients of the polynomials, lowest power first, for float32 and float64.

Written by tools/fit_polynomials.py. The error is the largest one of the polynomial itself, relative
to the function, before any rounding of its evaluation.
"""

from __future__ import annotations


def numbers(text: str) -> tuple[float, ...]:
    """Return the numbers in a text."""
    return tuple(map(float, text.split()))
'''


def table() -> str:
    """Return the text of the module of coefficients."""
    lines = [HEADER]
    for name, specs in groupby(SPECS, key=lambda spec: spec.name):
        rows = list(specs)
        lines += ["", *[f"# {spec.text}" for spec in rows], f"{name} = {{"]
        for spec in rows:
            for bits, degree in zip((32, 64), spec.degrees, strict=True):
                lines += entry(spec, bits) if degree is not None else []
        lines += ["}"]
    lines += ["", "# constants as sums of floats"]
    for name, (value, terms) in SUMS.items():
        lines += [f"{name} = {{"]
        for bits in (32, 64):
            lines += numbers(split_sum(value, terms, bits), bits)
        lines += ["}"]
    lines += ["", "# 1/(2*pi): the leading 1280 bits of its fraction", "INVERSE_TWO_PI = int("]
    lines += [f'    "{digits}"' for digits in inverse_two_pi(1280)]
    lines[-1] += ","
    lines += ["    16,", ")"]

    return "\n".join(lines) + "\n"


def main() -> int:
    """Write or check the table."""
    text = table()
    if "--check" in sys.argv[1:]:
        return 0 if TARGET.read_text() == text else 1
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

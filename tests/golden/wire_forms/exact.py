"""Rounding in exact arithmetic: floats are fractions until their last step, so nothing here rounds twice."""
import struct
from fractions import Fraction

INFINITY_BITS = 0x7F800000
QUIET_NAN = 0x7FC00000


def bits_of(x):
    return struct.unpack("<I", struct.pack("<f", x))[0]


def value(bits):
    """The fraction that the bits of a finite float stand for (the sign of zero is lost)."""
    exponent, mantissa = bits >> 23 & 0xFF, bits & 0x7FFFFF
    magnitude = Fraction(mantissa) * Fraction(2) ** -149
    if exponent:
        magnitude = (0x800000 + mantissa) * Fraction(2) ** (exponent - 150)
    return -magnitude if bits >> 31 else magnitude


def nearest_integer(x):
    """Ties to even."""
    below = x.numerator // x.denominator
    rest = x - below
    return below + (rest > Fraction(1, 2) or (rest == Fraction(1, 2) and below % 2 == 1))


def exponent_of(x):
    """e with 2^e <= x < 2^(e + 1), x > 0."""
    e = x.numerator.bit_length() - x.denominator.bit_length()
    return e if x >= Fraction(2) ** e else e - 1


def round_to(x, mantissa, min_exponent):
    """(code, value) of the nearest number with `mantissa` bits behind the point, ties to even; code is
    exponent << mantissa | fraction, with exponent 0 for numbers below 2^min_exponent. x >= 0."""
    e = max(exponent_of(x), min_exponent) if x else min_exponent
    step = Fraction(2) ** (e - mantissa)
    steps = nearest_integer(x / step)
    return (e - min_exponent << mantissa) + steps, steps * step


def f32(x):
    """Bits of the nearest float of a fraction, ties to even; infinity from the midpoint above the largest on."""
    code = min(round_to(abs(x), 23, -126)[0], INFINITY_BITS)
    return code | (0x80000000 if x < 0 else 0)


def is_finite(bits):
    return bits & INFINITY_BITS != INFINITY_BITS


def quotient(x, y):
    """x / y as float division gives it, as a fraction."""
    return value(f32(x / y))

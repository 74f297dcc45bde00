"""Blocks of codes behind an fp32 scale: fp8, int8 and the 4-bit forms (docs/wire.md, "Codecs")."""
from fractions import Fraction

from exact import INFINITY_BITS, QUIET_NAN, f32, is_finite, nearest_integer, quotient, round_to, value

SMALLEST = Fraction(1, 2 ** 100)
LARGEST = value(INFINITY_BITS - 1)


def sign(bits):
    return bits >> 31


def scale_of(largest, top):
    """max / top, rounded to float and then up to 16 significant bits, unless the product with top overflows."""
    if top == 1:
        return f32(largest)
    up = (f32(largest / top) + 0xFF) & ~0xFF
    while value(up) * top > LARGEST:
        up -= 0x100
    return up


class Scaled:
    """`code(bits, scale)` is a code of `width` bits; `zero` the code of 0."""

    def __init__(self, block, top, width, code, zero=0):
        self.BLOCK, self.top, self.width, self.code, self.zero = block, Fraction(top), width, code, zero

    def encode(self, bits):
        if not all(map(is_finite, bits)):
            return self.pack(QUIET_NAN, [self.zero] * len(bits))
        largest = max(abs(value(x)) for x in bits)
        if largest < SMALLEST:
            return self.pack(f32(Fraction(1)), [self.zero] * len(bits))
        scale = scale_of(largest, self.top)
        return self.pack(scale, [self.code(x, value(scale)) for x in bits])

    def pack(self, scale, codes):
        head = scale.to_bytes(4, "little")
        if self.width == 8:
            return head + bytes(codes)
        codes = codes + [0] * (len(codes) % 2)
        return head + bytes(low | high << 4 for low, high in zip(codes[::2], codes[1::2]))


def small_float(mantissa, min_exponent, top, sign_shift):
    def code(bits, scale):
        ratio = min(quotient(abs(value(bits)), scale), Fraction(top))
        return round_to(ratio, mantissa, min_exponent)[0] | sign(bits) << sign_shift
    return code


def int8(bits, scale):
    return max(-127, min(127, nearest_integer(quotient(value(bits), scale)))) & 0xFF


NF4 = [value(f32(Fraction(x))) for x in (
    "-1", "-.6961928", "-.52507305", "-.39491749", "-.28444138", "-.18477343", "-.091050036", "0", ".0795803", ".1609302",
    ".2461123", ".33791524", ".44070983", ".562617", ".72295684", "1")]


def nf4(bits, scale):
    """Nearest in value, ties to the lower; the midpoints are floats."""
    ratio = quotient(value(bits), scale)
    midpoints = [value(f32(value(f32(a + b)) / 2)) for a, b in zip(NF4, NF4[1:])]
    return sum(ratio > m for m in midpoints)


def e3m0(bits, scale):
    """Nearest of 0 and 2^-6 .. 1, ties to the larger."""
    ratio = quotient(abs(value(bits)), scale)
    numbers = [Fraction(0)] + [Fraction(2) ** (e - 7) for e in range(1, 8)]
    best = min(range(8), key=lambda e: (abs(numbers[e] - ratio), -e))
    return best | sign(bits) << 3


CODECS = {
    "fp8_e4m3": Scaled(256, 448, 8, small_float(3, -6, 448, 7)),
    "fp8_e5m2": Scaled(256, 57344, 8, small_float(2, -14, 57344, 7)),
    "int8": Scaled(256, 127, 8, int8),
    "e2m1": Scaled(32, 6, 4, small_float(1, 0, 6, 3)),
    "nf4": Scaled(64, 1, 4, nf4, zero=7),
    "e3m0": Scaled(32, 1, 4, e3m0),
}

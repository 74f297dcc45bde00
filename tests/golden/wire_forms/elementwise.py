"""f32, bf16 and f16: one element after another."""
from exact import round_to, value


class F32:
    BLOCK = 1

    @staticmethod
    def encode(bits):
        return bits[0].to_bytes(4, "little")


class Half:
    """`top` is the code of infinity."""
    BLOCK = 1

    def __init__(self, mantissa, min_exponent, top):
        self.mantissa, self.min_exponent, self.top = mantissa, min_exponent, top

    def encode(self, bits):
        x = bits[0]
        sign, magnitude = x >> 31 << 15, x & 0x7FFFFFFF
        if magnitude > 0x7F800000:
            fraction = magnitude >> (23 - self.mantissa) & ((1 << self.mantissa) - 1)
            code = self.top | fraction | 1 << (self.mantissa - 1)
        elif magnitude == 0x7F800000:
            code = self.top
        else:
            code = min(round_to(value(magnitude), self.mantissa, self.min_exponent)[0], self.top)
        return (sign | code).to_bytes(2, "little")


CODECS = {"f32": F32(), "bf16": Half(7, -126, 0x7F80), "f16": Half(10, -14, 0x7C00)}

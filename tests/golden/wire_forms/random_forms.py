"""Forms that draw random numbers from a counter: bf16_sr and random_k (docs/wire.md, "Random numbers")."""
from exact import INFINITY_BITS, is_finite, round_to, value

MASK = 0xFFFFFFFF
ROUNDING, SEED, CHOICE = 0, 1, 2


def philox(key, counter):
    """Philox4x32-10 with the multipliers and Weyl constants of Random123."""
    k0, k1 = key & MASK, key >> 32
    a, b, c, d = counter
    for i in range(10):
        left, right = 0xD2511F53 * a, 0xCD9E8D57 * c
        x, y = (k0 + i * 0x9E3779B9) & MASK, (k1 + i * 0xBB67AE85) & MASK
        a, b, c, d = right >> 32 ^ b ^ x, right & MASK, left >> 32 ^ d ^ y, left & MASK
    return a, b, c, d


# The known answers that come with Random123.
for KEY, COUNTER, ANSWER in (
        (0, (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (2**64 - 1, (MASK,) * 4, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (0x299F31D0A4093822, (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
         (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1))):
    assert philox(KEY, COUNTER) == ANSWER


def draw_key(model, client, term, counter):
    """FNV-1a, 64 bits."""
    text = model.encode() + b"\0" + client.encode() + b"\0"
    number = 0xCBF29CE484222325
    for byte in text + term.to_bytes(8, "little") + counter.to_bytes(8, "little"):
        number = (number ^ byte) * 0x100000001B3 % 2**64
    return number


def words(draw, purpose, number):
    return philox(draw["key"], (number & MASK, number >> 32, draw["tensor"], purpose))


class Bf16Sr:
    BLOCK = 1
    DRAWS = True
    LARGEST = 0x7F7F

    def encode(self, bits, draw):
        x, index = bits[0], draw["first"]
        sign, magnitude = x >> 31 << 15, x & 0x7FFFFFFF
        if magnitude >= INFINITY_BITS:
            code = magnitude >> 16 | (0x40 if magnitude > INFINITY_BITS else 0)
        else:
            word = words(draw, ROUNDING, index // 8)[index % 8 // 2]
            code = self.rounded(value(magnitude), word >> 16 * (index % 2) & 0xFFFF)
        return (sign | code).to_bytes(2, "little")

    def rounded(self, x, random):
        """The neighbour above with the probability of x's place between the two, from `random` of 2^16."""
        low, high = 0, self.LARGEST + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if value(middle << 16) <= x else (low, middle)
        if low == self.LARGEST:
            return low
        below, above = value(low << 16), value(high << 16)
        return high if (x - below) / (above - below) * 2**16 + random >= 2**16 else low


class RandomK:
    BLOCK = 4096
    DRAWS = True
    PART = 64

    def encode(self, bits, draw):
        seed = words(draw, SEED, draw["first"] // self.BLOCK)[0]
        parts = [bits[i:i + self.PART] for i in range(0, len(bits), self.PART)]
        values = [part[philox(seed, (j, 0, 0, CHOICE))[0] * len(part) >> 32] for j, part in enumerate(parts)]
        codes = [self.nearest(x) for x in values]
        if not all(map(is_finite, bits)):
            codes[0] = 0x7FC0
        return seed.to_bytes(4, "little") + b"".join(code.to_bytes(2, "little") for code in codes)

    @staticmethod
    def nearest(x):
        """To even; the largest finite number at most. What is not finite has the bits that bf16 gives it."""
        magnitude = x & 0x7FFFFFFF
        if magnitude >= INFINITY_BITS:
            code = magnitude >> 16 | (0x40 if magnitude > INFINITY_BITS else 0)
        else:
            code = min(round_to(value(magnitude), 7, -126)[0], 0x7F7F)
        return x >> 31 << 15 | code


CODECS = {"bf16_sr": Bf16Sr(), "random_k": RandomK()}

"""Forms for differences: signs and top-k (docs/wire.md, "Codecs"). Means are sums of doubles in a stated order."""
import struct

from exact import QUIET_NAN, bits_of, is_finite
from elementwise import CODECS as ELEMENTWISE

BF16 = ELEMENTWISE["bf16"]


def magnitude(bits):
    """As a double, which holds every float."""
    return struct.unpack("<f", struct.pack("<I", bits & 0x7FFFFFFF))[0]


def floats(*bits):
    return struct.pack(f"<{len(bits)}I", *bits)


class Sign:
    BLOCK = 256

    def encode(self, bits):
        signs = sum((x >> 31) << i for i, x in enumerate(bits))
        return floats(self.mean(bits)) + signs.to_bytes((len(bits) + 7) // 8, "little")

    @staticmethod
    def mean(bits):
        """Eight lanes in index order, then the lanes in order."""
        if not all(map(is_finite, bits)):
            return QUIET_NAN
        total = 0.0
        for lane in range(8):
            of_lane = 0.0
            for x in bits[lane::8]:
                of_lane += magnitude(x)
            total += of_lane
        return bits_of(total / len(bits))


def choose(bits):
    """The largest one in 64, ties to the lower index, in ascending order."""
    kept = (len(bits) + 63) // 64
    by_size = sorted(range(len(bits)), key=lambda i: (-(bits[i] & 0x7FFFFFFF), i))
    return sorted(by_size[:kept])


def pack_indices(chosen):
    """Twelve bits each, as one little-endian number."""
    number = sum(index << 12 * j for j, index in enumerate(chosen))
    return number.to_bytes((3 * len(chosen) + 1) // 2, "little")


class TopkBf16:
    BLOCK = 4096

    def encode(self, bits):
        chosen = choose(bits)
        return b"".join(BF16.encode([bits[i]]) for i in chosen) + pack_indices(chosen)


class Topk2bit:
    BLOCK = 4096

    def encode(self, bits):
        chosen = choose(bits)
        kept = [bits[i] for i in chosen]
        if not all(map(is_finite, kept)):
            levels, high = [QUIET_NAN] * 2, [self.is_high(x, self.threshold(kept)) for x in kept]
        else:
            high = [self.is_high(x, self.threshold(kept)) for x in kept]
            levels = [self.mean([x for x, h in zip(kept, high) if h == level]) for level in (False, True)]
        codes = sum((h | x >> 31 << 1) << 2 * j for j, (x, h) in enumerate(zip(kept, high)))
        return floats(*levels) + codes.to_bytes((len(kept) + 3) // 4, "little") + pack_indices(chosen)

    @staticmethod
    def threshold(kept):
        total = 0.0
        for x in kept:
            total += magnitude(x) ** 2
        return 2.25 * total / len(kept)

    @staticmethod
    def is_high(x, threshold):
        return magnitude(x) ** 2 >= threshold

    @staticmethod
    def mean(kept):
        total = 0.0
        for x in kept:
            total += magnitude(x)
        return bits_of(total / len(kept)) if kept else 0


CODECS = {"sign": Sign(), "topk_bf16": TopkBf16(), "topk_2bit": Topk2bit()}

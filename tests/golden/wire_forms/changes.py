"""The lossless difference of two bf16 forms (docs/wire.md, "Differences"), block by block."""

BLOCK = 4096


def encode(before, after):
    """Of one tensor, given as the 16-bit codes of its elements."""
    out = b""
    for begin in range(0, len(after), BLOCK):
        out += encode_block(before[begin:begin + BLOCK], after[begin:begin + BLOCK])
    return out


def encode_block(before, after):
    n = len(after)
    places = [i for i in range(n) if before[i] != after[i]]
    out = len(places).to_bytes(2, "little")
    if 0 < len(places) < n:
        out += shorter(places, n)
    return out + b"".join(after[i].to_bytes(2, "little") for i in places)


def shorter(places, n):
    """Indices of 12 bits or one bit per element, each as one little-endian number."""
    as_indices, as_bits = (3 * len(places) + 1) // 2, (n + 7) // 8
    if as_indices <= as_bits:
        return sum(index << 12 * j for j, index in enumerate(places)).to_bytes(as_indices, "little")
    return sum(1 << index for index in places).to_bytes(as_bits, "little")

#!/usr/bin/env python3
"""Writes the golden bytes of the wire forms: codecs/<codec>.json, encoded in exact arithmetic.

    make_codec_goldens.py            write the files
    make_codec_goldens.py --check    exit 1 when a file differs from what the definitions give (run by ctest)

The modules of wire_forms/ write every codec a second time, from its definition and without looking at the C++.
A golden holds inputs as the bits of fp32 numbers, one tensor a case, and its encoded bytes in hexadecimal.
Standard library only.
"""
import importlib
import json
import pathlib
import random
import sys

HERE = pathlib.Path(__file__).resolve().parent
MODULES = ("elementwise", "scaled", "differences")


def uniform(draw, n, exponents):
    """n numbers of any sign and mantissa with exponents drawn from a range."""
    return [draw.getrandbits(1) << 31 | draw.randint(*exponents) + 127 << 23 | draw.getrandbits(23) for _ in range(n)]


def cases(block):
    """Tensors in bits: whole blocks and a short one, ties, zeros, the ends of the range."""
    draw = random.Random(block)
    n = {1: 40, 4096: 4096 + 200}.get(block, 2 * block + block // 3)
    one = 127 << 23
    halves = [one + (i << 16) for i in range(min(max(block, 32), 256) + 1)]
    return {
        "near_one": uniform(draw, n, (-6, 0)),
        "wide": uniform(draw, n, (-40, 40)),
        "ties": halves + [x | 1 << 31 for x in halves],
        "zeros": [0, 1 << 31] * (min(block, 256) // 2 + 1),
        "one_element": uniform(draw, 1, (-3, 3)),
        "denormals": [draw.getrandbits(1) << 31 | draw.getrandbits(23) for _ in range(min(n, 500))],
        "tiny": uniform(draw, min(n, 500), (-101, -98)),
        "largest": [0x7F7FFFFF, 0xFF7FFFFF] + uniform(draw, min(n, 500), (120, 127)),
        "nan": uniform(draw, min(block, 256), (-2, 2)) + [0x7F800001] + uniform(draw, 2, (-2, 2)),
        "infinity": [0xFF800000] + uniform(draw, min(block, 256) + 2, (-2, 2)),
    }


def golden(name, codec):
    out = []
    for case, bits in cases(codec.BLOCK).items():
        blocks = [bits[i:i + codec.BLOCK] for i in range(0, len(bits), codec.BLOCK)]
        data = b"".join(codec.encode(block) for block in blocks)
        out.append({"case": case, "input": bits, "bytes": data.hex()})
    return json.dumps({"codec": name, "block": codec.BLOCK, "cases": out}) + "\n"


def main():
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(HERE / "wire_forms"))
    codecs = {}
    for module in MODULES:
        codecs.update(importlib.import_module(module).CODECS)
    stale = []
    for name, codec in codecs.items():
        path, expected = HERE / "codecs" / f"{name}.json", golden(name, codec)
        if sys.argv[1:] != ["--check"]:
            path.write_text(expected)
        elif not path.exists() or path.read_text() != expected:
            stale.append(path.name)
    if stale:
        sys.exit("not what the definitions give: " + ", ".join(stale))
    print(f"{len(codecs)} golden files are what the definitions give")


if __name__ == "__main__":
    main()

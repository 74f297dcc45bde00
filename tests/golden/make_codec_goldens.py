#!/usr/bin/env python3
"""Writes the golden bytes of the wire forms: codecs/<codec>.json, encoded in exact arithmetic.

    make_codec_goldens.py            write the files
    make_codec_goldens.py --check    exit 1 when a file differs from what the definitions give (run by ctest)

The modules of wire_forms/ write every codec a second time, from its definition and without looking at the C++.
A golden holds inputs as the bits of fp32 numbers, one tensor a case, and its encoded bytes in hexadecimal; of a
codec that draws random numbers also whose push they are and where the input stands in it. lossless_bf16.json holds
differences: the bf16 codes before and after.
Standard library only.
"""
import importlib
import json
import pathlib
import random
import sys

HERE = pathlib.Path(__file__).resolve().parent
MODULES = ("elementwise", "scaled", "differences", "random_forms")


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


def draws(block):
    """Pushes and versions, tensors and places in them, the last one where the counter has a second word."""
    places = [0, 3, 21, 1000] if block == 1 else [0, block, 7 * block, 1000 * block]
    for i in range(10):
        whose = {"model": f"m{i}", "client": "w.1" if i % 2 else "", "term": 0 if i % 2 else 3, "counter": 11 * i + 1}
        yield whose | {"tensor": 5 * i, "first": places[i % 4] + (block << 40 if i == 9 else 0)}


def encode_drawing(codec, bits, place, draw_key):
    key = draw_key(*(place[field] for field in ("model", "client", "term", "counter")))
    data = b""
    for i in range(0, len(bits), codec.BLOCK):
        draw = {"key": key, "tensor": place["tensor"], "first": place["first"] + i}
        data += codec.encode(bits[i:i + codec.BLOCK], draw)
    return data


def golden(name, codec):
    out, places = [], draws(codec.BLOCK)
    for case, bits in cases(codec.BLOCK).items():
        if getattr(codec, "DRAWS", False):
            place = next(places)
            data = encode_drawing(codec, bits, place, importlib.import_module("random_forms").draw_key)
            out.append({"case": case, "draw": place, "input": bits, "bytes": data.hex()})
            continue
        blocks = [bits[i:i + codec.BLOCK] for i in range(0, len(bits), codec.BLOCK)]
        data = b"".join(codec.encode(block) for block in blocks)
        out.append({"case": case, "input": bits, "bytes": data.hex()})
    return json.dumps({"codec": name, "block": codec.BLOCK, "cases": out}) + "\n"


def changes_golden(encode):
    """Tensors of bf16 codes before and after, with every way to say what has changed."""
    draw, out = random.Random(7), []
    for case, n, changed in (("nothing", 70, 0), ("all", 70, 70), ("one", 1, 1), ("indices", 4096, 341),
                             ("bits", 4096, 342), ("short_bits", 30, 3), ("short_index", 30, 2), ("blocks", 4500, 99)):
        before = [draw.getrandbits(16) for _ in range(n)]
        after = list(before)
        for i in draw.sample(range(n), changed):
            after[i] ^= 1 + draw.getrandbits(15)
        out.append({"case": case, "before": before, "after": after, "bytes": encode(before, after).hex()})
    return json.dumps({"form": "lossless_bf16", "cases": out}) + "\n"


def main():
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(HERE / "wire_forms"))
    codecs = {}
    for module in MODULES:
        codecs.update(importlib.import_module(module).CODECS)
    files = {name: golden(name, codec) for name, codec in codecs.items()}
    files["lossless_bf16"] = changes_golden(importlib.import_module("changes").encode)
    stale = []
    for name, expected in files.items():
        path = HERE / "codecs" / f"{name}.json"
        if sys.argv[1:] != ["--check"]:
            path.write_text(expected)
        elif not path.exists() or path.read_text() != expected:
            stale.append(path.name)
    if stale:
        sys.exit("not what the definitions give: " + ", ".join(stale))
    print(f"{len(files)} golden files are what the definitions give")


if __name__ == "__main__":
    main()

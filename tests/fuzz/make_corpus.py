"""Writes the corpora that fuzzing starts from: a few small inputs of the right form per target. Run: python3 make_corpus.py

The bytes are put together here by hand, not by the code that reads them.
"""
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
GOLDEN = HERE.parent / "golden" / "store_v1" / "models" / "team%2Flm"

EVENTS = HERE.parent / "golden" / "events_v1" / "lm" / "events-000001.log"


def varint(value):
    out = bytearray()
    while True:
        out.append((value & 127) | (128 if value > 127 else 0))
        value >>= 7
        if not value:
            return bytes(out)


def number(field, value):
    return varint(field << 3) + varint(value)


def text(field, value):
    value = value if isinstance(value, bytes) else value.encode()
    return varint(field << 3 | 2) + varint(len(value)) + value


def double(field, value):
    return varint(field << 3 | 1) + struct.pack("<d", value)


def chunk(offset, data):
    return number(1, offset) + varint(2 << 3 | 5) + struct.pack("<I", 0) + text(3, data)


def safetensors(tensors, data):
    header = json.dumps(tensors).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data


TENSOR = text(1, "w") + number(2, 4) + number(2, 3) + number(3, 1) + number(4, 1)
RULE = text(1, "nesterov") + text(2, text(1, "lr") + double(2, 0.7))
SPEC = text(1, "lm") + text(2, TENSOR) + number(4, 2) + text(6, RULE) + text(9, number(1, 1) + number(2, 2))

CORPORA = {
    "chunk_reassembly": [bytes([4, 0, 0, 0]) + bytes([4, 15]) + bytes(16), bytes([16, 0, 1, 8, 0, 0, 4, 7]) + bytes(8)],
    "client_message": [bytes([7]) + text(3, chunk(0, bytes(20))), bytes([3]) + text(2, text(1, number(1, 1) + number(2, 5)))],
    "codecs": [bytes([codec, 64, 0]) + bytes(range(64)) for codec in range(13)],
    "config": [b"server:\n  listen: 127.0.0.1:7400\n  drain_timeout: 30s\nlimits:\n  max_models: 10\n", b"log:\n  level: debug\n"],
    # A frame per byte count: bodies of records, then loose bytes.
    "event_file": [bytes([1, 30]) + EVENTS.read_bytes()[56:86] + bytes(10), bytes([0]) + EVENTS.read_bytes()],
    "http_request": [b"\0/metrics", b"\0/livez", b"\1OPTIONS /readyz", b"\0/"],
    # Entries with and without chunks, a new batch, a second segment; a changed byte.
    "log_file": [bytes([2, 0, 5]) + b"hello" + bytes([16, 4, 2, 2, 3]) + b"abc" + bytes([16, 4]) + b"wxyz" + bytes([0, 2])
                 + b"ab" + bytes([0, 0, 6, 0, 2, 0, 1, 65, 0]), bytes([2, 0, 5]) + b"hello" + bytes([16, 7, 3, 0, 1])],
    "manifest": [b"\1" + path.read_bytes() for path in sorted(GOLDEN.glob("MANIFEST-*"))]
    + [b"\0" + path.read_bytes()[32:] for path in sorted(GOLDEN.glob("MANIFEST-*"))],
    "model_image": [bytes([1, 1]) + number(1, 1) + number(2, 1) + number(3, 7) + text(5, SPEC)],
    "push_message": [bytes([9]) + text(2, chunk(0, bytes(40))), bytes([3]) + text(1, text(1, "lm") + text(2, "w0") + number(4, 1))],
    "safetensors": [b"\7" + safetensors({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}, bytes(24)),
                    b"\0" + safetensors({"__metadata__": {"format": "pt"}}, b"")],
    "session_machine": [bytes([1, 0, 0, 1, 4, 0, 0, 0, 0, 0, 1, 0, 5, 1, 1, 0, 2, 1, 1, 1, 3, 255, 255]),
                        bytes([0, 1, 1, 2, 7]) + bytes(40)],
    "spec": [SPEC, SPEC + number(7, 20) + text(19, double(3, 1.0))],
}

for name, inputs in CORPORA.items():
    folder = HERE / "corpus" / name
    folder.mkdir(parents=True, exist_ok=True)
    for i, content in enumerate(inputs):
        (folder / f"seed-{i}").write_bytes(content)

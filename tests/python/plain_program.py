"""Creates a model, pushes a delta and pulls it back, with grpcio and generated code alone.

PYTHONPATH=<generated stubs> python3 plain_program.py 127.0.0.1:7400
"""

import json
import struct
import sys

import grpc
from plain_client import PlainClient, fingerprint

W, B, N = [1.0, 2.0, 3.0, 4.0], [0.5, -0.5], 7


def dense(w, b, n):
    """Table order, little-endian; the carried counter as raw bytes of its own type."""
    return struct.pack("<4f2fq", *w, *b, n)


def main(address):
    client = PlainClient(address)
    v1 = client.common
    spec = client.model_pb.ModelSpec(
        name="plain",
        tensors=[
            v1.Tensor(name="w", shape=[2, 2], dtype=v1.DATA_TYPE_F32, role=v1.TENSOR_ROLE_TRAINED),
            v1.Tensor(name="b", shape=[2], dtype=v1.DATA_TYPE_F32, role=v1.TENSOR_ROLE_AVERAGED),
            v1.Tensor(name="n", shape=[], dtype=v1.DATA_TYPE_I64, role=v1.TENSOR_ROLE_CARRIED),
        ],
        outer=v1.RuleSpec(name="average", values={"alpha": 0.5}),
    )
    created = client.create(spec, dense(W, B, N))
    session = client.open("plain", "by-hand")
    # The delta is base - theta: theta is W - 2, so its half-step is W - 1.
    answer = client.push(dense([2.0] * 4, [0.25, 0.25], 9), session.version, samples=10)
    header, payload, commit = client.pull()
    saw = {
        "created": created.created,
        "fingerprint_agrees": created.model.fingerprint == fingerprint(spec.tensors) == header.fingerprint,
        "outcome": answer.outcome,
        "versions": [created.model.version.counter, answer.version.counter, header.version.counter],
        "commit_is_header": commit.version == header.version,
        "pulled": struct.unpack("<4f2fq", payload),
        "samples": header.samples,
        "bad_crc": refusal(lambda: push_with_bad_crc(client, answer.version)),
        "after": client.pull()[1] == payload,
        "sdk_was_loaded": "stepback._core" in sys.modules,
    }
    client.close()
    print(json.dumps(saw))


def push_with_bad_crc(client, base):
    payload = dense([1.0] * 4, [0.0, 0.0], 0)
    header = client.training_pb.PushRequest(header=client.header(base, len(payload)))
    chunk = client.common.Chunk(offset=0, crc32c=1, data=payload)
    client.training.Push(iter([header, client.training_pb.PushRequest(chunk=chunk)]), timeout=60)


def refusal(call):
    """The status code of a call that must fail, and its details."""
    try:
        call()
    except grpc.RpcError as error:
        details = dict(error.trailing_metadata()).get("grpc-status-details-bin", b"")
        return [error.code().name, b"BAD_CRC" in details]
    return None


if __name__ == "__main__":
    main(sys.argv[1])

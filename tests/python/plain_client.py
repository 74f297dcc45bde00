"""A client with nothing but grpcio and code that protoc generated from the proto: what any language has."""

import hashlib
import os
import queue
import shutil
import struct
import subprocess
from pathlib import Path

import grpc

TIMEOUT = 60.0


def proto_root():
    return Path(os.environ.get("STEPBACK_PROTO", Path(__file__).parents[2] / "proto"))


def generate(out):
    """Stubs (and their .pyi) of every proto file, as users would make them."""
    files = sorted(str(path.relative_to(proto_root())) for path in proto_root().glob("stepback/v1/*.proto"))
    subprocess.run(
        [
            "protoc",
            f"-I{proto_root()}",
            f"--python_out={out}",
            f"--pyi_out={out}",
            f"--grpc_python_out={out}",
            f"--plugin=protoc-gen-grpc_python={shutil.which('grpc_python_plugin')}",
            *files,
        ],
        check=True,
    )


def crc32c(data):
    """Castagnoli, bit by bit over a table."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _table_entry(byte):
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_TABLE = [_table_entry(byte) for byte in range(256)]


def fingerprint(tensors):
    """SHA-256 of the tensor table (docs/wire.md), from the proto's entries."""
    digest = hashlib.sha256()
    for tensor in tensors:
        name = tensor.name.encode()
        digest.update(
            struct.pack("<I", len(name)) + name + struct.pack("<BI", tensor.dtype, len(tensor.shape))
        )
        digest.update(struct.pack(f"<{len(tensor.shape)}Q", *tensor.shape) + bytes([tensor.role]))
    return digest.digest()


class PlainClient:
    def __init__(self, address):
        # Made by generate() into a folder of the path.
        from stepback.v1 import common_pb2, model_pb2, model_pb2_grpc, training_pb2, training_pb2_grpc

        self.common, self.model_pb, self.training_pb = common_pb2, model_pb2, training_pb2
        self.channel = grpc.insecure_channel(address)
        self.models = model_pb2_grpc.ModelServiceStub(self.channel)
        self.training = training_pb2_grpc.TrainingServiceStub(self.channel)

    def create(self, spec, payload):
        header = self.model_pb.CreateModelRequest.Header(spec=spec, total_bytes=len(payload))
        messages = [self.model_pb.CreateModelRequest(header=header)]
        messages += [self.model_pb.CreateModelRequest(chunk=chunk) for chunk in self.chunks(payload)]
        return self.models.CreateModel(iter(messages), timeout=TIMEOUT)

    def open(self, model, client_id):
        self.model, self.client_id = model, client_id
        request = self.training_pb.OpenSessionRequest(model=model, client_id=client_id, protocol_version=1)
        self.session = self.training.OpenSession(request, timeout=TIMEOUT)
        return self.session

    def close(self):
        request = self.training_pb.CloseSessionRequest(
            model=self.model, client_id=self.client_id, epoch=self.session.epoch
        )
        self.training.CloseSession(request, timeout=TIMEOUT)

    def push(self, payload, base, **fields):
        messages = [self.training_pb.PushRequest(header=self.header(base, len(payload), **fields))]
        messages += [self.training_pb.PushRequest(chunk=chunk) for chunk in self.chunks(payload)]
        answer = self.training.Push(iter(messages), timeout=TIMEOUT)
        self.session.last_sequence = answer.sequence
        return answer

    def begin_push(self, base, payload):
        """Sends the header and the first chunk of a push, and leaves the stream open."""
        messages = queue.Queue()
        messages.put(self.training_pb.PushRequest(header=self.header(base, len(payload))))
        messages.put(self.training_pb.PushRequest(chunk=next(self.chunks(payload))))
        self.open_push = self.training.Push.future(iter(messages.get, None), timeout=10 * TIMEOUT)

    def pull(self, **fields):
        """(header, payload, commit), every checksum checked."""
        header, payload, crcs, commit = None, b"", b"", None
        request = self.training_pb.PullRequest(model=self.model, **fields)
        for message in self.training.Pull(request, timeout=TIMEOUT):
            kind = message.WhichOneof("message")
            if kind == "header":
                header = message.header
            elif kind == "chunk":
                assert message.chunk.offset == len(payload) and message.chunk.crc32c == crc32c(
                    message.chunk.data
                )
                payload += message.chunk.data
                crcs += struct.pack("<I", message.chunk.crc32c)
            elif kind == "commit":
                commit = message.commit
        assert commit is not None and commit.crc32c == (crc32c(crcs) if crcs else 0)
        assert len(payload) == header.total_bytes
        return header, payload, commit

    def header(self, base, total_bytes, **fields):
        return self.training_pb.PushHeader(
            model=self.model,
            client_id=self.client_id,
            epoch=self.session.epoch,
            sequence=self.session.last_sequence + 1,
            kind=self.training_pb.PUSH_KIND_DELTA,
            base=base,
            total_bytes=total_bytes,
            **fields,
        )

    def chunks(self, payload, chunk_bytes=1 << 20):
        for offset in range(0, len(payload), chunk_bytes):
            data = payload[offset : offset + chunk_bytes]
            yield self.common.Chunk(offset=offset, crc32c=crc32c(data), data=data)

"""Any gRPC language works: a client made from the proto alone, without the SDK; and both in one process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import plain_client
import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def stubs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stubs")
    plain_client.generate(folder)
    return folder


def run(program, *arguments, path):
    done = subprocess.run(
        [sys.executable, *program, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_stubs_have_types(stubs):
    assert (stubs / "stepback/v1/training_pb2.pyi").read_text().count("class PushHeader") == 1


def test_a_client_made_from_the_proto_alone_creates_pushes_and_pulls(local, stubs):
    saw = json.loads(run([str(HERE / "plain_program.py")], local.address, path=[stubs]))
    assert saw["created"] and saw["fingerprint_agrees"] and not saw["sdk_was_loaded"]
    assert saw["outcome"] == 1  # APPLIED
    assert saw["versions"] == [0, 1, 1] and saw["commit_is_header"] and saw["samples"] == 10
    # Trained: half of the delta. Averaged: the mean of what came. Carried: the newest bytes.
    assert saw["pulled"] == [0.0, 1.0, 2.0, 3.0, 0.25, -0.75, 9]
    assert saw["bad_crc"] == ["INVALID_ARGUMENT", True] and saw["after"]


def test_what_a_plain_client_made_the_sdk_trains_on(local, server, stubs):
    run([str(HERE / "plain_program.py")], local.address, path=[stubs])
    model = server.model("plain")
    assert [(t.name, t.role) for t in model.tensors] == [
        ("w", "trained"),
        ("b", "averaged"),
        ("n", "carried"),
    ]
    with model.join("sdk") as worker:
        base = worker.pull()
        new = worker.step({**base, "w": base["w"] + 2})
        np.testing.assert_array_equal(new["w"], base["w"] + 1)


COEXIST = """
import sys
import grpc, torch, numpy
import google.protobuf
import stepback, stepback.torch
from plain_client import PlainClient
with stepback.serve_local() as local, local.connect() as server:
    model = server.create_model("m", {"w": torch.ones(3)}, outer=stepback.average())
    with model.join("sdk") as worker:
        base = worker.pull()
        worker.step({"w": base["w"] * 2})
        plain = PlainClient(local.address)
        plain.open("m", "plain")
        header, payload, commit = plain.pull()
        assert numpy.frombuffer(payload, "<f4").tolist() == [2, 2, 2], payload
        assert torch.linalg.norm(torch.ones(64, 64) @ torch.ones(64, 64)) > 0
print("ok", stepback.v1.common_pb2.Version(term=1).term)
"""


@pytest.mark.parametrize("order", ["sdk first", "grpcio first"])
def test_the_sdk_lives_beside_grpcio_protobuf_and_torch_in_one_process(stubs, order):
    import stepback

    program = COEXIST if order == "grpcio first" else "import stepback._core\n" + COEXIST
    package = Path(stepback.__file__).parents[1]
    assert run(["-c", program], path=[stubs, HERE, package]) == "ok 1\n"

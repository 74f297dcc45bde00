"""The same pushes give the same bits, whatever the number of compute threads and the instruction set of the server."""

import numpy as np
import pytest
from conftest import TIMEOUT

import stepback
from stepback.testing import ServerProcess, find_program

SEED = 20261128
STEPS = 6
# More than one task of the compute pool, a ragged tail, and a tensor smaller than a vector.
SHAPES = {"embedding": (1_500_003,), "square": (257, 129), "bias": (3,)}
THREADS = ["--compute-threads=1"], ["--compute-threads=8"]
TARGETS = ["--cpu-target=generic"], ["--cpu-target=avx2"], ["--cpu-target=avx512"]


def random_tensors(generator):
    return {name: generator.standard_normal(shape, dtype=np.float32) for name, shape in SHAPES.items()}


def train(server, name, push_codec, **model):
    """A model after STEPS pushes of one worker: its state hash and its weights."""
    generator = np.random.default_rng(SEED)
    created = server.create_model(name, random_tensors(generator), **model)
    with created.join("worker-0", push_codec=push_codec) as worker:
        weights = worker.pull()
        for _ in range(STEPS):
            noise = random_tensors(generator)
            if model["mode"] == "gradient":
                worker.push_gradient(noise)
            else:
                weights = worker.step({key: weights[key] + 0.01 * noise[key] for key in weights})
        return created.describe(state_hash=True).state_hash, {key: np.array(v) for key, v in worker.pull().items()}


def everything(server):
    gradient = dict(mode="gradient", inner=stepback.adam(lr=1e-2), outer=stepback.lookahead(alpha=0.5), sync_period=3,
                    rounds=stepback.asynchronous())
    delta = dict(mode="delta", outer=stepback.diloco(), rounds=stepback.sync(quorum=1))
    return [train(server, "gradient", "f32", **gradient), train(server, "delta", "bf16", **delta)]


def starts(folder, arguments):
    """What a server with these arguments makes of the pushes; None where this processor lacks the instruction set."""
    try:
        with ServerProcess(find_program(), folder, arguments) as process:
            with process.connect(give_up_after=TIMEOUT) as server:
                return everything(server)
    except RuntimeError as error:
        assert "CPU_TARGET_UNKNOWN" in str(error), error
        return None


@pytest.mark.parametrize("variants", [THREADS, TARGETS], ids=["threads", "instruction sets"])
def test_servers_of_every_kind_make_the_same_bits_of_the_same_pushes(tmp_path, variants):
    print(f"seed {SEED}")
    results = [starts(tmp_path / str(i), variant) for i, variant in enumerate(variants)]
    ran = [(variant, result) for variant, result in zip(variants, results) if result is not None]
    assert len(ran) >= 2, "at least generic and one vector form run here" if variants is TARGETS else variants
    first = ran[0][1]
    for variant, result in ran[1:]:
        for (expected_hash, expected), (seen_hash, seen) in zip(first, result):
            for key in expected:
                np.testing.assert_array_equal(expected[key], seen[key], err_msg=f"{variant} {key}")
            assert expected_hash == seen_hash, variant

"""Averages of the slow weights through a real server, against their definitions in NumPy."""

import json
import subprocess

import numpy as np
import pytest
from conftest import TIMEOUT, assert_same

import stepback
from stepback.testing import find_program

STEPS = 30
AVERAGES = {
    "ema": stepback.ema(decay=0.9),
    "plain": stepback.ema(decay=0.9, debias=False),
    "polyak": stepback.polyak(start=4),
    "rna": stepback.rna(memory=5, regularization=1e-2),
}


def expected(name, history):
    """The definition of each average over all slow weights so far, the initial ones first, in float64."""
    if name == "rna":
        return extrapolated(np.array(history[-5:], np.float64), 1e-2)
    samples = np.array(history[1:], np.float64)
    syncs = np.arange(1, len(history))
    if name in ("ema", "plain"):
        shares = 0.1 * 0.9 ** (syncs[-1] - syncs)
        total = np.tensordot(shares, samples, 1)
        return total / (1 - 0.9 ** syncs[-1]) if name == "ema" else total + 0.9 ** syncs[-1] * history[0]
    taken = syncs >= 4 if name == "polyak" else (syncs >= 3) & ((syncs - 3) % 5 == 0)
    return samples[taken].mean(axis=0) if taken.any() else samples[-1]


def extrapolated(iterates, regularization):
    """RNA as its paper writes it: c solves (R'R / |R'R| + lambda I) z = 1, normalised."""
    if len(iterates) < 3:
        return iterates[-1]
    residuals = np.diff(iterates.reshape(len(iterates), -1), axis=0)
    gram = residuals @ residuals.T
    gram /= np.linalg.norm(gram, 2)
    z = np.linalg.solve(gram + regularization * np.eye(len(gram)), np.ones(len(gram)))
    return np.tensordot(z / z.sum(), iterates[1:], 1)


def check_all(pull, history, averages=AVERAGES):
    for name in averages:
        np.testing.assert_allclose(
            pull(view=f"average:{name}")["w"],
            expected(name, history),
            rtol=0,
            atol=1e-5,
            err_msg=f"{name} after {len(history) - 1} syncs",
        )


def test_every_average_follows_its_definition_through_a_restart_of_the_server(process):
    """30 outer steps; the server is killed after 13 of them, when its snapshot has the averages of step 11."""
    rng = np.random.default_rng(11)
    start = rng.standard_normal((7, 5)).astype(np.float32)
    with process.connect(give_up_after=TIMEOUT) as server:
        model = server.create_model("m", {"w": start}, outer=stepback.diloco(), averages=AVERAGES)
        for name in AVERAGES:
            np.testing.assert_array_equal(model.pull(view=f"average:{name}")["w"], start)
        history = [start]
        with model.join("w0") as worker:
            weights = worker.pull()
            for step in range(1, STEPS + 1):
                theta = weights["w"] + rng.standard_normal((7, 5)).astype(np.float32) * np.float32(0.2)
                weights = worker.step({"w": theta})
                history.append(weights["w"])
                check_all(model.pull, history)
                if step == 11:
                    model.save_snapshot()
                if step == 13:
                    process.kill()
                    process.start()
            check_all(worker.pull, history)


def test_averages_of_a_gradient_model_sample_after_its_syncs(server):
    rng = np.random.default_rng(5)
    start = rng.standard_normal(9).astype(np.float32)
    averages = {"ema": stepback.ema(decay=0.9), "swa": stepback.swa(start=3, period=5)}
    model = server.create_model(
        "m", {"w": start}, mode="gradient", outer=stepback.lookahead(), sync_period=3, averages=averages
    )
    history = [start]
    with model.join("w0") as worker:
        worker.pull()
        for step in range(1, 19):
            worker.step_gradient({"w": rng.standard_normal(9).astype(np.float32) * np.float32(100)})
            if step % 3 == 0:
                history.append(model.pull(view="eval")["w"])
            if len(history) > 1:
                check_all(model.pull, history, averages)


def test_looking_at_an_average_leaves_the_workers_base_alone(server):
    model = server.create_model(
        "m",
        {"w": np.zeros(4, np.float32)},
        outer=stepback.average(),
        averages={"mean": stepback.polyak()},
    )
    with model.join("w0") as worker:
        worker.pull()
        base = worker.step({"w": np.full(4, 2, np.float32)})
        base = worker.step({"w": np.full(4, 6, np.float32)})
        mean = worker.pull(view="average:mean")
        np.testing.assert_array_equal(mean["w"], 4.0)
        assert mean.version == base.version == worker.version
        # base - theta is 6 - 7; from the average it would be 4 - 7.
        np.testing.assert_array_equal(worker.step({"w": np.full(4, 7, np.float32)})["w"], 7.0)
        assert worker.last_step.outcome == "applied"


def test_averages_belong_to_the_definition_and_can_be_tuned(server):
    weights = {"w": np.zeros(3, np.float32)}
    model = server.create_model("m", weights, averages=AVERAGES)
    assert model.describe().averages == AVERAGES
    assert not server.create_model("m", weights, averages=AVERAGES).created
    with pytest.raises(stepback.ModelExistsError):
        server.create_model("m", weights)
    model.update({"averages.ema.decay": 0.5})
    assert model.describe().averages["ema"].values["decay"] == 0.5
    assert not server.create_model("m", weights, averages=AVERAGES).created  # the settings may move on


def test_wrong_wishes_name_what_there_is(server, tmp_path):
    weights = {"w": np.zeros(3, np.float32)}
    model = server.create_model("m", weights, averages={"b": stepback.ema(), "a": stepback.swa()})
    with pytest.raises(stepback.FailedPreconditionError, match="no average 'c'; it has b, a") as refusal:
        model.pull(view="average:c")
    assert refusal.value.reason == "AVERAGE_NOT_CONFIGURED"
    with pytest.raises(stepback.InvalidArgumentError, match='"average:NAME"'):
        model.pull(view="averages")
    gradients = server.create_model("g", weights, mode="gradient", averages={"a": stepback.ema()})
    with gradients.join("w0") as worker:
        worker.pull()
        with pytest.raises(stepback.InvalidArgumentError, match="cannot continue"):
            worker.step_gradient(weights, view="average:a")
    bare = server.create_model("bare", weights)
    with pytest.raises(stepback.FailedPreconditionError, match="no average ''; it has none"):
        bare.pull(view="average:")
    with pytest.raises(stepback.FailedPreconditionError):
        bare.export(tmp_path / "file", view="average:a")
    assert not list(tmp_path.glob("file*"))
    for averages, message in (
        ({"a": stepback.ema(decay=1)}, r"values.decay is 1, expected a number in \[0, 1\)"),
        ({"A": stepback.ema()}, r"averages\[0\].name is 'A'"),
        ({"a": stepback.nesterov()}, "'nesterov' is no average"),
        ({str(i): stepback.ema() for i in range(5)}, "is 5, expected 0..4"),
        ({"a": stepback.rule("swa", period=0)}, "values.period is 0"),
    ):
        with pytest.raises(stepback.InvalidArgumentError, match=message):
            server.create_model("bad", weights, averages=averages)


def test_the_command_line_creates_lists_and_exports_averages(process, tmp_path):
    program = find_program().with_name("stepback")

    def run(*arguments):
        command = [str(program), *arguments, f"--address={process.address}"]
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)

    created = run(
        "model", "create", "lm", "--tensor=w:3", "--zeros", "--outer=average", "--output=json",
        "--average=ema=ema,decay=0.5,debias=0", "--average=late=swa:start=2",
    )  # fmt: skip
    assert created.returncode == 0, created.stderr
    assert json.loads(created.stdout)["spec"]["averages"] == [
        {"name": "ema", "rule": {"name": "ema", "values": {"debias": 0.0, "decay": 0.5}}},
        {"name": "late", "rule": {"name": "swa", "values": {"start": 2.0}}},
    ]
    with process.connect() as server, server.model("lm").join("w0") as worker:
        worker.pull()
        worker.step({"w": np.full(3, 8, np.float32)})
        path = tmp_path / "ema.safetensors"
        exported = run("model", "export", "lm", str(path), "--view=average:ema")
        assert exported.returncode == 0, exported.stderr
        assert path.read_bytes().endswith(np.full(3, 4, np.float32).tobytes())
        other = server.create_model("other", {"w": np.zeros(3, np.float32)})
        other.import_weights(path)
        assert_same(other.pull(), {"w": np.full(3, 4, np.float32)})
    unknown = run("model", "export", "lm", str(tmp_path / "x"), "--view=average:emma")
    assert unknown.returncode != 0 and "it has ema, late" in unknown.stderr
    assert not (tmp_path / "x").exists()
    wrong = run("model", "create", "x", "--tensor=w:3", "--zeros", "--average=ema")
    assert wrong.returncode != 0 and "name=rule" in wrong.stderr
    rules = json.loads(run("rules", "--output=json").stdout)["rules"]
    assert {rule["name"] for rule in rules if rule["kind"] == "average"} >= {"ema", "polyak", "rna", "swa"}

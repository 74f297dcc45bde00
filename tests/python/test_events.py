"""The event log of a real server against the answers that its workers got: `stepback events` and `stepback replay`."""

import json
import math
import os
import pathlib
import subprocess

import numpy as np
import pytest
from conftest import TIMEOUT, small_weights

import stepback

SEED = 20261128


def program():
    default = pathlib.Path(os.environ.get("STEPBACKD", "stepbackd")).with_name("stepback")
    path = pathlib.Path(os.environ.get("STEPBACK_PROGRAM", default))
    if not path.exists():
        pytest.skip(f"no {path}")
    return path


def run(*arguments):
    """Exit status and standard output of the command, as lines of JSON."""
    command = [program(), "-o", "jsonl", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def events(process, *arguments):
    status, out, error = run("events", process._data_dir / "models", *arguments)
    assert status == 0, error
    return out


def train(workers, random, steps, samples):
    """Pushes of several workers in a random order; what each was told, by client and sequence."""
    answers = {}
    for _ in range(steps):
        worker = workers[random.integers(len(workers))]
        if random.random() < 0.5:
            worker.pull()
        gradients = {name: random.standard_normal(value.shape, np.float32) for name, value in small_weights().items()}
        count = int(random.integers(1, 50))
        answer = worker.push_gradient(gradients, samples=count)
        assert answer.outcome == "applied"
        answers[worker.client_id, answer.sequence] = answer
        samples[worker.client_id, answer.sequence] = count
    return answers


def test_the_log_tells_what_the_workers_were_told(process):
    print(f"seed {SEED}")
    random = np.random.default_rng(SEED)
    rounds = stepback.asynchronous(max_staleness=1000, staleness_exponent=0.5)
    samples = {}
    with process.connect(give_up_after=TIMEOUT) as server:
        model = server.create_model("lm", small_weights(), mode="gradient", inner=stepback.sgd(lr=0.1),
                                    outer=stepback.lookahead(alpha=0.5), sync_period=3, rounds=rounds)
        with model.join("w0") as first, model.join("w1") as second:
            first.pull(), second.pull()
            answers = train([first, second], random, 25, samples)
            model.update({"inner.lr": 0.05})
            answers.update(train([first, second], random, 25, samples))
    process.stop()

    told = events(process)
    assert [event["number"] for event in told] == list(range(1, len(told) + 1))
    merges = [event for event in told if event["name"] == "round_closed"]
    assert len(merges) == len(answers) == 50
    total = 0
    for index, event in enumerate(merges):
        merge = event["merge"]
        (member,) = merge["members"]
        key = member["client"], member["sequence"]
        answer = answers.pop(key)
        total += samples[key]
        assert event["version"] == {"term": answer.version.term, "counter": answer.version.counter}
        assert event["version"]["counter"] == index + 1 and merge["before"]["counter"] == index
        assert event["reason"] == answer.reason
        assert member["staleness"] == answer.staleness == index - member["base"]["counter"]
        assert member["samples"] == samples[key] and merge["samples"] == answer.samples == total
        assert merge["inner_steps"] == answer.inner_steps and merge["outer_steps"] == answer.outer_steps
        assert merge["outer_step"] == (answer.inner_steps % 3 == 0)
        assert math.isclose(member["numerator"], (1 + member["staleness"]) ** -0.5, rel_tol=1e-15)
        rates = {rate["kind"]: rate["values"] for rate in merge["rates"]}
        assert rates["inner"]["lr"] == (0.1 if index < 25 else 0.05)
        assert ("outer" in rates) == merge["outer_step"]
    assert not answers

    names = [event["name"] for event in told]
    assert names.count("session_opened") == names.count("session_closed") == 2
    (changed,) = [event for event in told if event["name"] == "settings_changed"]
    assert changed["fields"] == {"inner.lr": "0.05"}
    assert {event["merge"]["members"][0]["client"] for event in events(process, "--client", "w1", "--name", "round_closed")} == {"w1"}
    assert events(process, "--since", "1.50", "--name", "round_closed")[0]["version"]["counter"] == 50


def test_a_replay_of_the_decisions_agrees_with_them_over_crashes(process):
    random = np.random.default_rng(SEED)
    with process.connect(give_up_after=TIMEOUT) as server:
        model = server.create_model("lm", small_weights(), mode="gradient", inner=stepback.sgd(lr=0.1),
                                    outer=stepback.lookahead(alpha=0.5), sync_period=2,
                                    rounds=stepback.asynchronous(max_staleness=1000))
        with model.join("w0") as worker:
            worker.pull()
            for life in range(3):
                train([worker], random, 10, {})
                if life == 1:
                    model.save_snapshot()
                process.kill()
                process.start()
            train([worker], random, 10, {})
    process.stop()
    status, (out,), error = run("replay", process._data_dir / "models", "--model", "lm")
    assert status == 0, error
    assert out["replayed"] == "decisions" and out["totals"]["contradictions"] == 0
    assert out["totals"]["merges"] >= 40
    assert [event["fields"]["generation"] for event in events(process, "--name", "model_recovered")]
    status, (part,), error = run("replay", process._data_dir / "models", "--model", "lm", "--to", "5")
    assert status == 0 and len(part["merges"]) == 5
    # Records younger than a second die with the server; then the merges are those that the workers' replays made.
    assert part["version"]["counter"] == 5 and part["version"]["term"] in (1, 2)

"""The byte-level language model: its quick run learns and counts its bytes, its baseline is what torch does,
and the documented tables are those of the recorded runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import stepback

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "byte_lm"
sys.path.insert(0, str(EXAMPLE))
import model  # noqa: E402
import train_sync  # noqa: E402
from data import Corpus  # noqa: E402
from team import Team  # noqa: E402
from trial import BETAS, WEIGHT_DECAY, Trial  # noqa: E402

sys.path.remove(str(EXAMPLE))  # its other modules share names with other examples'

UNIFORM_LOSS = 5.545  # ln 256: knows nothing
WORKERS, STEPS, PERIOD = 4, 200, 50
F32, INT8, NF4 = 4, 1 + 4 / 256, 0.5 + 4 / 64  # bytes per element


def run(out, *options):
    command = [sys.executable, str(EXAMPLE), f"--out={out}", *options]
    variables = {**os.environ, "MPLCONFIGDIR": str(out)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, env=variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    out = tmp_path_factory.mktemp("quick")
    with stepback.serve_local() as local:
        stdout = run(out, "--quick", f"--server={local.address}", f"--json={out / 'runs.json'}")
        with local.connect() as server:
            assert server.list_models() == []
    return stdout, json.loads((out / "runs.json").read_text()), out


def test_both_learn(quick):
    _, found, _ = quick
    assert [run["trial"]["sync_every"] for run in found["runs"]] == [1, PERIOD]
    for run_ in found["runs"]:
        losses = [point["loss"] for point in run_["curve"]]
        assert len(losses) == 4 and losses[-1] < losses[0]
        assert losses[-1] < UNIFORM_LOSS - 2.5  # the frequencies of single bytes bring 3.29


def test_bytes_are_those_of_the_codecs_in_both_directions(quick):
    """What the clients counted is what the forms take by their definition, and little more."""
    _, found, _ = quick
    parameters, rounds = found["setting"]["parameters"], STEPS // PERIOD
    expected = {
        1: (STEPS * F32 * parameters, (STEPS + 1) * F32 * parameters),
        PERIOD: (rounds * NF4 * parameters, (rounds + 1) * INT8 * parameters),
    }
    for run_ in found["runs"]:
        end, (up, down) = run_["curve"][-1], expected[run_["trial"]["sync_every"]]
        assert up <= end["bytes_sent"] <= 1.01 * up
        assert down <= end["bytes_received"] <= 1.01 * down


def test_a_hundred_times_fewer_bytes(quick):
    stdout, found, out = quick
    baseline, diloco = found["summary"]
    assert baseline["fewer_bytes"] == 1
    assert diloco["fewer_bytes"] >= 100
    sums = [row["megabytes_up"] + row["megabytes_down"] for row in found["summary"]]
    assert sums[0] / sums[1] == pytest.approx(diloco["fewer_bytes"])
    assert f"{diloco['fewer_bytes']:.1f}x" in stdout
    assert (out / "byte_lm.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_synchronous_training_is_adamw_on_the_mean_gradient():
    """Four workers through a server, against torch on one batch of all their windows."""
    corpus, trial = Corpus.load(), Trial(sync_every=1, rate=0.005, steps=12, seed=3, batch=2)
    alone = {name: weight[None].requires_grad_() for name, weight in model.network(trial.seed).items()}
    optimizer = torch.optim.AdamW(alone.values(), lr=trial.rate, betas=BETAS, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, trial.factor)
    for _, windows in zip(range(trial.steps), corpus.batches(WORKERS, 2, model.CONTEXT, trial.seed)):
        optimizer.zero_grad()
        model.losses(alone, windows.flatten(0, 1)[None]).sum().backward()
        optimizer.step()
        schedule.step()
    with stepback.serve_local() as local, local.connect() as server:
        with Team(train_sync.create(server, trial)) as team:
            list(train_sync.train(team, trial, corpus.batches(WORKERS, 2, model.CONTEXT, trial.seed)))
        for name, weight in team.weights.items():
            for worker in weight.detach():
                torch.testing.assert_close(worker, alone[name].detach()[0], rtol=0, atol=1e-4)
    begun = model.network(trial.seed)
    assert all((alone[name].detach()[0] - begun[name]).abs().max() > 1e-2 for name in begun)


def test_recorded_runs_fill_a_page_without_being_repeated(quick, tmp_path):
    stdout, _, out = quick
    page, places = tmp_path / "page.md", ("results", "setting", "tuning", "times")
    page.write_text("".join(f"# {name}\n<!-- {name} -->\nold\n<!-- end -->\n" for name in places))
    nowhere = "--server=127.0.0.1:1"  # nobody listens
    run(tmp_path, "--quick", nowhere, f"--json={out / 'runs.json'}", f"--page={page}")
    assert "old" not in page.read_text()
    assert sorted(tables(page.read_text())) == sorted(tables(stdout))


def test_the_documented_tables_are_those_of_the_recorded_runs(tmp_path):
    documented = ROOT / "docs" / "byte_lm.md"
    page, runs = tmp_path / "page.md", tmp_path / "runs.json"
    page.write_bytes(documented.read_bytes())
    runs.write_bytes((EXAMPLE / "results.json").read_bytes())
    run(tmp_path, "--server=127.0.0.1:1", f"--json={runs}", f"--page={page}")
    assert page.read_text() == documented.read_text()
    assert len(tables(page.read_text())) > 20


def tables(text):
    return [line for line in text.splitlines() if line.startswith("|")]

"""The quickstart's job as a user runs it, with the server killed in the middle of its last run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stepback.testing import find_program

JOB = Path(__file__).parents[2] / "examples" / "quickstart"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    try:
        program = find_program()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    out = tmp_path_factory.mktemp("quickstart")
    ran = subprocess.run(
        [
            sys.executable,
            str(JOB),
            f"--stepbackd={program}",
            f"--out={out}",
            f"--json={out / 'figures.json'}",
            "--restart-server",
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "MPLCONFIGDIR": str(out)},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout, out


def test_every_run_learns_and_the_json_has_three_accuracies(done):
    _, out = done
    figures = json.loads((out / "figures.json").read_text())
    accuracies = {name: value for name, value in figures.items() if "accuracy" in name}
    assert set(accuracies) == {"local_accuracy", "gradient_accuracy", "delta_accuracy"}
    assert all(0.95 <= value <= 1 for value in accuracies.values()), accuracies
    assert figures["local_bytes_sent"] == 0 < figures["delta_bytes_sent"] < figures["gradient_bytes_sent"]
    assert all(isinstance(value, (int, float)) for value in figures.values())


def test_the_delta_run_survived_the_restart(done):
    stdout, out = done
    assert stdout.count("killed the server in round 15 and started it again") == 1
    figures = json.loads((out / "figures.json").read_text())
    assert figures["delta_steps"] >= 30 * 20  # the workers' processes went on


def test_it_shows_progress_a_table_pictures_and_what_to_do_next(done):
    stdout, out = done
    for words in (
        "(local)",
        "(gradient)",
        "(delta)",
        "accuracy",
        "received",
        "seconds",
        "/metrics",
        "stepback",
    ):
        assert words in stdout
    assert stdout.count("[####") >= 12  # a line every quarter of three runs, as it is no terminal
    for picture in ("fast_and_slow.png", "comparison.png"):
        assert (out / picture).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert (out / picture).stat().st_size > 20_000
    assert "stepback_build_info" in (out / "metrics.txt").read_text()


def test_inner_updates_degrade_and_the_outer_update_restores():
    """What the picture shows, as numbers: in most cycles the test loss rises, and falls with the sync."""
    sys.path.insert(0, str(JOB))
    try:
        import runs
        import torch
        from digits import Digits

        import stepback

        torch.set_num_threads(1)
        with stepback.serve_local() as local, local.connect() as server:
            run = runs.gradient(Digits.load(), server)
    finally:
        sys.path.remove(str(JOB))
    k = runs.LOOKAHEAD_STEPS
    losses = [loss for _, loss in run.fast_curve]
    cycles = range(runs.STEPS // 4, runs.STEPS - runs.COOL_DOWN - k, k)
    fell = [losses[start + k - 1] < max(losses[start : start + k - 1]) for start in cycles]
    restored = [losses[start + k - 2] > losses[start + k - 1] for start in cycles]
    assert sum(fell) > 0.9 * len(fell)
    assert sum(restored) > 0.65 * len(restored)

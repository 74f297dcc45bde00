"""Short forms of the crash harness, and what it says of planted faults."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SEED = 20261128


def run(tmp_path, *arguments, program="."):
    """(exit status, result, what it said)"""
    file = tmp_path / "result.json"
    done = subprocess.run(
        [sys.executable, str(HERE / program), f"--json={file}", *arguments],
        capture_output=True,
        text=True,
        timeout=400,
    )
    print(done.stdout, done.stderr)
    return done.returncode, json.loads(file.read_text()) if file.exists() else None, done.stderr


def crash(tmp_path, *arguments):
    return run(tmp_path, f"--seed={SEED}", *arguments)


def check_clean(status, result):
    assert status == 0
    assert (result["lost"], result["doubled"], result["bit_identical"], result["problems"]) == (0, 0, True, 0)
    assert result["acknowledged"] > 0


@pytest.mark.parametrize(
    "arguments",
    [["--mode=gradient"], ["--mode=delta", "--nested"], ["--mode=gradient", "--in-flight=5"],
     ["--mode=delta", "--in-flight=5"]],
    ids=["gradient", "delta", "gradient-window", "delta-window"],
)
def test_a_server_that_is_killed_loses_nothing_and_doubles_nothing(tmp_path, arguments):
    status, result, _ = crash(tmp_path, "--cycles=4", *arguments)
    check_clean(status, result)
    assert result["cycles"] == 4 and sum(result["kills"].values()) >= 4


def test_rolling_restarts_lose_nothing_and_end_in_time(tmp_path):
    status, result, _ = crash(tmp_path, "--cycles=3", "--signal=TERM")
    check_clean(status, result)
    assert 0 < result["slowest_stop_seconds"] <= 10


@pytest.mark.parametrize("arguments", [[], ["--mode=delta", "--nested"]], ids=["gradient", "delta"])
def test_a_model_with_a_log_loses_nothing_and_doubles_nothing(tmp_path, arguments):
    status, result, _ = crash(tmp_path, "--cycles=3", "--durability=push", *arguments)
    check_clean(status, result)


@pytest.mark.parametrize(
    "plant, shows", [("lost", lambda r: r["lost"] > 0), ("doubled", lambda r: r["doubled"] == 1),
                     ("order", lambda r: not r["bit_identical"] and not r["lost"] and not r["doubled"])],
    ids=["lost", "doubled", "order"],
)
def test_the_harness_reports_a_planted_fault(tmp_path, plant, shows):
    cycles = 3 if plant == "order" else 1  # two pushes of one client are to be swapped
    status, result, _ = crash(tmp_path, f"--cycles={cycles}", f"--plant={plant}")
    assert status == 1 and shows(result)


FAILPOINTS = ["push.,round.,version.,reply.", "snapshot.,block.,manifest.,label.,prune.", "term.,lock.,directory.,recovery.",
              "create.,session.,restore.,import.,delete.,drain.", "journal.,log.,replay."]


def test_every_failpoint_is_tried_below():
    program = os.environ["STEPBACKD"]
    names = subprocess.run([program, "--list-failpoints"], capture_output=True, text=True, check=True).stdout.split()
    assert len(names) >= 40
    assert [name for name in names if not name.startswith(tuple(",".join(FAILPOINTS).split(",")))] == []


@pytest.mark.parametrize("prefixes", FAILPOINTS)
def test_a_server_that_dies_at_a_failpoint_loses_nothing_and_doubles_nothing(tmp_path, prefixes):
    durability = "push" if "log." in prefixes else "round"
    status, result, _ = crash(tmp_path, "--job=failpoints", "--hits=1", f"--only={prefixes}", f"--durability={durability}")
    check_clean(status, result)
    assert result["hits"] and all(hits == 1 for hits in result["hits"].values())
    assert result["elsewhere"] == {}


def test_deliveries_that_are_repeated_dropped_and_out_of_order_make_the_same_weights(tmp_path):
    status, result, _ = crash(tmp_path, "--job=deliveries", "--cycles=250")
    check_clean(status, result)
    assert all(result["deliveries"][kind] for kind in ("next", "shuffled", "again", "fenced", "partial"))
    assert result["cuts"] > 0


def test_a_window_of_pushes_behind_a_faulty_proxy_makes_the_same_weights(tmp_path):
    status, result, _ = crash(tmp_path, "--job=deliveries", "--cycles=400", "--in-flight=5")
    check_clean(status, result)
    assert result["acknowledged"] == result["pushes"] == 200
    assert result["cuts"] > 0


def test_what_readers_see_through_kills_is_one_history(tmp_path):
    status, result, _ = crash(tmp_path, "--job=history", "--cycles=3")
    check_clean(status, result)
    assert result["pulls"] > 0


def test_the_quickstart_ends_with_the_weights_of_an_undisturbed_run(tmp_path):
    status, result, _ = crash(tmp_path, "--job=quickstart", "--cycles=2")
    check_clean(status, result)
    assert result["reconnects"] >= 2


def test_idle_sessions_miss_no_heartbeat(tmp_path):
    status, result, _ = run(tmp_path, "--sessions=100", "--seconds=12", "--lease=30", program="idle_sessions.py")
    assert status == 0
    assert result["missed"] == 0 and result["alive"] == 100 and result["heartbeats"] >= 100

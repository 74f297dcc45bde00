"""stepback debug log|manifest DIR and stepback snapshot verify DIR, on the kept golden files and on damaged copies."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"


def stepback(*arguments):
    """Exit status, parsed standard output (JSON), standard error."""
    command = [os.environ["STEPBACK_PROGRAM"], "--output", "json", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def flip(path, byte):
    data = bytearray(path.read_bytes())
    data[byte] ^= 1
    path.write_bytes(data)


@pytest.fixture
def store(tmp_path):
    return pathlib.Path(shutil.copytree(GOLDEN / "store_v1", tmp_path / "data"))


@pytest.fixture
def log(tmp_path):
    return pathlib.Path(shutil.copytree(GOLDEN / "log_v1", tmp_path / "lm"))


def test_manifests_are_shown_newest_first(store):
    status, out, _ = stepback("debug", "manifest", store)
    assert status == 0
    newest, first = out["snapshots"]
    assert (newest["generation"], first["generation"]) == (2, 1)
    assert first["model"] == "team/lm" and first["label"] == "first"
    assert first["version"] == {"term": 2, "counter": 40}
    assert [array["bytes"] for array in first["arrays"]] == [3000, 0, 4096, 10]
    assert first["files"][0]["bytes"] == 12288 and first["files"][0]["hash128"].startswith("bc638413")


def test_a_models_directory_will_do(store):
    status, out, _ = stepback("debug", "manifest", store / "models" / "team%2Flm")
    assert status == 0 and len(out["snapshots"]) == 2


def test_sound_snapshots_verify_and_nothing_is_changed(store):
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    status, out, _ = stepback("snapshot", "verify", store)
    assert status == 0
    assert [snapshot["status"] for snapshot in out["snapshots"]] == ["ok", "ok"]
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before


def test_a_damaged_snapshot_is_named_and_the_exit_status_says_so(store):
    flip(store / "models" / "team%2Flm" / "snap-000001" / "block-000000.bin", 5000)
    status, out, error = stepback("snapshot", "verify", store)
    assert status == 1 and "1 of 2 snapshots" in error
    newest, first = out["snapshots"]
    assert newest["status"] == "ok" and not newest["damaged"]
    assert first["damaged"] and "block-000000.bin" in first["status"]


def test_the_log_is_shown_entry_by_entry(log):
    status, out, _ = stepback("debug", "log", log)
    assert status == 0
    (shown,) = out["logs"]
    assert shown["model"] == "lm" and shown["entries"] == 3 and shown["payload_bytes"] == 40
    opened, push, last = shown["records"]
    assert (opened["type"], opened["client"], opened["body_bytes"]) == (2, "w0", 4)
    assert (push["sequence"], push["payload_bytes"], push["position"]) == (6, 40, 80)
    assert last["version"] == {"term": 1, "counter": 5}
    assert [segment["base"] for segment in shown["segments"]] == [0, 4096]


def test_damage_in_the_log_is_refused_or_stepped_over(log):
    flip(log / "wal-000001.log", 0x10f0)  # in the payload of the push
    status, out, error = stepback("debug", "log", log)
    assert status == 1 and "damaged" in error
    assert out["logs"][0]["entries"] == 1 and "wal-000001.log" in out["logs"][0]["status"]
    status, out, _ = stepback("debug", "log", log, "--recovery", "salvage")
    assert status == 1
    assert out["logs"][0]["entries"] == 2 and len(out["logs"][0]["damaged"]) == 1


def test_a_torn_tail_is_shown_and_is_no_error(log):
    with (log / "wal-000002.log").open("r+b") as file:
        file.truncate(4096 + 40)
    status, out, _ = stepback("debug", "log", log)
    assert status == 0
    assert out["logs"][0]["entries"] == 2 and out["logs"][0]["torn_bytes"] > 0


def test_the_disk_is_measured_and_nothing_stays(tmp_path):
    status, out, _ = stepback("debug", "disk", tmp_path)
    assert status == 0
    assert out["bytes_written"] >= 16 << 20 and out["bytes_per_second"] > 0
    assert out["push_bytes_per_second"] == pytest.approx(0.6 * out["bytes_per_second"], abs=1)
    assert not list(tmp_path.iterdir())


def test_a_directory_of_something_else_is_refused(tmp_path):
    (tmp_path / "x").mkdir()
    status, _, error = stepback("debug", "log", tmp_path / "x")
    assert status == 1 and "neither a data directory" in error

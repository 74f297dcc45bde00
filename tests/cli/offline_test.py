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


@pytest.fixture
def event_log(tmp_path):
    return pathlib.Path(shutil.copytree(GOLDEN / "events_v1" / "lm", tmp_path / "lm"))


def lines(*arguments):
    command = [os.environ["STEPBACK_PROGRAM"], "-o", "jsonl", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_events_are_shown_one_by_one(event_log):
    status, out, _ = lines("events", event_log)
    assert status == 0
    created, merge = out
    assert (created["number"], created["name"], created["wall_nanos"]) == (1, "model_created", 1_700_000_000_000_000_000)
    assert (merge["number"], merge["dropped"], merge["reason"]) == (3, 1, "applied at once")
    assert merge["merge"]["before"] == {"term": 1, "counter": 0} and merge["version"] == {"term": 1, "counter": 1}
    assert merge["merge"]["members"][0]["numerator"] == 1 / 3, "the same double"
    status, out, _ = stepback("events", event_log, "--client", "w0")
    assert status == 0 and [event["name"] for event in out["events"]] == ["round_closed"]
    assert lines("events", event_log, "--name", "nothing")[1] == []
    assert [event["number"] for event in lines("events", event_log, "--since", "1.1")[1]] == [3]


def test_events_are_a_table_for_people(event_log):
    command = [os.environ["STEPBACK_PROGRAM"], "events", str(event_log)]
    head, created, merge = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.splitlines()
    assert head.split() == ["TIME", "MODEL", "VERSION", "EVENT", "WHO", "REASON"]
    assert created.startswith("2023-11-14T22:13:20") and "w0:1" in merge and "1 records that were dropped" in merge


def test_a_damaged_record_is_stepped_over_and_told(event_log):
    flip(event_log / "events-000001.log", -1)
    flip(event_log / "events-000001.log", 32 + 30)
    status, out, error = lines("events", event_log)
    assert status == 0 and [event["number"] for event in out] == [1] and "stepped over" in error


def test_events_can_be_followed(event_log):
    file = event_log / "events-000001.log"
    whole = file.read_bytes()
    file.write_bytes(whole[:-40])
    command = [os.environ["STEPBACK_PROGRAM"], "-o", "jsonl", "events", str(event_log), "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert json.loads(following.stdout.readline())["number"] == 1
        file.write_bytes(whole)
        assert json.loads(following.stdout.readline())["number"] == 3
        following.terminate()
        assert following.wait(timeout=60) == 0


def test_bad_questions_about_events_are_refused(event_log):
    assert stepback("events", event_log, "--since", "x")[0] == 2
    assert stepback("events", event_log, "--model", "other")[0] == 1
    assert stepback("replay", event_log, "--to", "1.x")[0] == 2


def test_a_replay_names_contradictions(event_log):
    status, out, error = stepback("replay", event_log)
    assert status == 1 and "contradictions" in error, "the golden merge of 1/3 is made up"
    assert out["totals"]["missing"] == 1
    what = [finding["what"] for finding in out["findings"] if finding["contradiction"]]
    assert any("the settings give" in sentence for sentence in what)
    assert stepback("replay", event_log, "--to", "0")[0] == 0

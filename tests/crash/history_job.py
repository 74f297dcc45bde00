"""Concurrent pushes, pulls and outer steps under kills, and what they saw held against accounts.py."""

import json
import subprocess
import sys
import time
from pathlib import Path

import accounts
import verdict
import witness_process
from killer import Killer

import stepback

WITNESS = Path(__file__).with_name("witness_process.py")
WRITERS, READERS = 2, 2
MODEL = "history"


def create(connection, durability):
    """Slow weights become the fast ones at every third step; counts stay exact."""
    connection.create_model(
        MODEL,
        witness_process.zeros(WRITERS),
        mode="gradient",
        inner=stepback.sgd(lr=1.0),
        outer=stepback.lookahead(alpha=1.0),
        sync_period=3,
        rounds=stepback.asynchronous(max_staleness=1 << 31),
        durability=durability,
        snapshot_interval_seconds=0.05,
    ).save_snapshot()


def run(options, random, server, folder):
    """(verdict, facts for the report)"""
    with stepback.connect(server.address) as connection:
        create(connection, options.durability)
    events = folder / "history"
    folder.mkdir(exist_ok=True)
    roles = [("writer", i) for i in range(WRITERS)] + [("reader", i) for i in range(READERS)]
    witnesses = [start(role, index, server.address, events) for role, index in roles]
    killer = Killer(random, server, lambda: pushes_in(events))
    try:
        for _ in range(options.cycles):
            killer.kill(killer.await_moment([MODEL]))
            killer.restart(options.nested)
        problems = [f"a witness ended with {status}" for status in map(end, witnesses) if status != 0]
    finally:
        for witness in witnesses:
            witness.kill()
    history = [json.loads(line) for line in events.read_text().splitlines()]
    with stepback.connect(server.address) as connection:
        final = pull(connection)
    problems += accounts.check(history, final)
    pushes = sum(event["kind"] == "push" for event in history)
    total = verdict.Verdict(acknowledged=pushes, problems=problems)
    total.lost = sum("the end has" in problem for problem in problems)
    total.doubled = sum("one twice" in problem for problem in problems)
    return total, {"pulls": len(history) - pushes, "kills": dict(killer.phases)}


def start(role, index, address, events):
    command = [sys.executable, str(WITNESS), role, str(index), address, MODEL, str(WRITERS), str(events)]
    return subprocess.Popen(command, stdin=subprocess.PIPE)


def end(witness):
    witness.stdin.close()
    return witness.wait(timeout=120)


def pushes_in(events):
    return events.read_bytes().count(b'"push"') if events.exists() else 0


def pull(connection):
    began = time.monotonic()
    weights = connection.model(MODEL).pull(view="train")
    return {"kind": "pull", "who": "the end", "view": "train", "begin": began, "end": time.monotonic(),
            "version": [weights.version.term, weights.version.counter], "tensors": witness_process.seen(weights)}

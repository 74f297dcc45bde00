"""The quickstart's workers train through kills of the server and end with the weights of an undisturbed run.

The rounds wait for everyone and are reduced in order, so the weights depend on nothing but the data.
"""

import sys
import time
from pathlib import Path

import numpy as np
import verdict

import stepback

JOB = Path(__file__).parents[2] / "examples" / "quickstart"


def run(options, random, server, undisturbed):
    """(verdict, facts for the report)"""
    sys.path.insert(0, str(JOB))
    calm = train(undisturbed, [], random, options.durability)
    rounds = calm["info"].outer_steps
    # A kill after the report of the named outer steps; the run must have a round left to notice.
    kills = sorted(random.sample(range(1, rounds - 1), options.cycles))
    stormy = train(server, kills, random, options.durability)
    total = verdict.Verdict(acknowledged=stormy["reports"])
    for name, expected in calm["weights"].items():
        if expected.tobytes() != stormy["weights"][name].tobytes():
            total.bit_identical = False
            total.problems.append(f"'{name}' differs: by {np.abs(expected - stormy['weights'][name]).max()} at most")
    total.problems += [f"a step ended as '{outcome}'" for outcome in stormy["outcomes"] - {"applied"}]
    if stormy["kills"] != options.cycles:
        total.problems.append(f"{stormy['kills']} kills of {options.cycles}")
    for name in ("outer_steps", "samples"):
        seen, expected = getattr(stormy["info"], name), getattr(calm["info"], name)
        total.lost += max(0, expected - seen)
        total.doubled += max(0, seen - expected)
    facts = {"mode": "delta", "kills": {"serving": stormy["kills"]}}
    return total, {**facts, "outer_steps": rounds, "reconnects": stormy["reconnects"], "killed_after": kills}


def train(server, kills, random, durability):
    import delta_workers
    import runs
    from digits import network

    with stepback.connect(server.address) as connection:
        connection.create_model(
            "quickstart",
            dict(network(runs.SEED).named_parameters()),
            outer=stepback.diloco(),
            rounds=stepback.sync(quorum=runs.WORKERS, reduction="ordered"),
            sync_period=runs.LOCAL_STEPS,
            finish_after_steps=runs.ROUNDS,
            durability=durability,
            snapshot_interval_seconds=0.1,
        ).save_snapshot()
    seen = {"kills": 0, "outcomes": set(), "reconnects": 0, "reports": 0}
    pending = list(kills)
    with delta_workers.start(server.address, "quickstart", runs.WORKERS, runs.DELTA_RATE) as workers:
        for report in workers.reports():
            seen["reconnects"] += report.get("reconnects", 0)
            if "outcome" not in report:
                continue
            seen["reports"] += 1
            seen["outcomes"].add(report["outcome"])
            while pending and report["outer_steps"] >= pending[0]:
                pending.pop(0)
                time.sleep(random.uniform(0, 0.05))
                server.kill()
                server.start()
                seen["kills"] += 1
    with stepback.connect(server.address) as connection:
        model = connection.model("quickstart")
        seen["weights"] = {name: np.array(value) for name, value in model.pull().items()}
        seen["info"] = model.describe()
    return seen

"""Planted faults: what the harness must report when a server breaks its promises."""

import shutil

import pushes
from jobs import client_id

import stepback

KINDS = ("lost", "doubled", "order")


def copy_of(data):
    """An older state of the data directory, for `put_back`: a disk that forgot what it had confirmed."""
    old = data.with_name("old-data")
    shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(data, old)
    return old


def put_back(old, data):
    shutil.rmtree(data)
    old.rename(data)


def push_again(address, job):
    """Client 0's first push once more, as if its number had been forgotten."""
    change = pushes.change(job.seed, 0, 1, job.clients, job.share)
    with stepback.connect(address) as server, server.model(job.name).join(client_id(0) + "-again") as worker:
        weights = worker.pull()
        samples = pushes.samples(1)
        if job.mode == "gradient":
            worker.push_gradient({**change, "digits": -change["digits"]}, samples=samples)
        else:
            worker.push_weights({name: weights[name] + change[name] for name in weights}, samples=samples)


def swap(rounds):
    """Two neighbouring pushes of client 0 with each other's payload: all is in once, the order is another."""
    mine = [(r, m) for r, members in enumerate(rounds) for m, member in enumerate(members) if member[0] == 0]
    assert len(mine) >= 2, f"client 0 has {len(mine)} pushes, two are to be swapped: run more cycles"
    (r, m), (s, n) = mine[len(mine) // 2 - 1 : len(mine) // 2 + 1]
    left, right = rounds[r][m], rounds[s][n]
    rounds[r][m], rounds[s][n] = (*left[:2], right[2]), (*right[:2], left[2])

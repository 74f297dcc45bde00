"""Idle sessions: each has a connection of its own and heartbeats, nothing else. What of it does the server feel?

A beat is missed when its answer is an error or comes later than the next beat is due. At the end the server must still
count every session.
"""

import argparse
import asyncio
import dataclasses
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import reference
from server import Server

HERE = Path(__file__).parent
OPENING_AT_ONCE = 64
KIB_MAX = 64.0  # server memory per session; gRPC alone takes 18 (reliability.md P13)


@dataclasses.dataclass
class Beats:
    answered: int = 0
    missed: int = 0
    slowest: float = 0.0
    why: str = ""

    def note(self, seconds, period, error):
        self.slowest = max(self.slowest, seconds)
        late = seconds > period
        self.missed += late or error is not None
        self.answered += error is None
        if late or error is not None:
            self.why = str(error or f"answered after {seconds:.1f} s")


def main():
    options = parse()
    raise_limit(4 * options.sessions + 200)
    with tempfile.TemporaryDirectory(prefix="idle-sessions-") as folder:
        stubs = reference.make_stubs(Path(folder) / "stubs")
        server = Server(options.stepbackd, Path(folder) / "server")
        server.start()
        try:
            sys.path.insert(0, str(stubs))
            result = asyncio.run(measure(server, options))
        finally:
            server.kill()
    print(json.dumps(result, indent=2))
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=2) + "\n")
    good = result["missed"] == 0 and result["alive"] == options.sessions and result["kib_per_session"] <= KIB_MAX
    return 0 if good else 1


async def measure(server, options):
    from plain import Stubs

    stubs = Stubs(server.address)
    await stubs.create("idle", options.lease)
    before, began = rss_kib(server.pid), time.monotonic()
    gate = asyncio.Semaphore(OPENING_AT_ONCE)
    beats, stop = Beats(), asyncio.Event()
    tasks = [
        asyncio.create_task(session(stubs, index, gate, beats, stop, options.lease))
        for index in range(options.sessions)
    ]
    while stubs.opened < options.sessions:
        failed = [task for task in tasks if task.done()]
        for task in failed:
            task.result()
        await asyncio.sleep(0.1)
    opened = time.monotonic()
    await asyncio.sleep(options.seconds)
    after, alive = rss_kib(server.pid), await stubs.alive("idle")
    stop.set()
    await asyncio.gather(*tasks)
    return {
        "sessions": options.sessions,
        "alive": alive,
        "heartbeats": beats.answered,
        "missed": beats.missed,
        "why_missed": beats.why,
        "slowest_heartbeat_seconds": round(beats.slowest, 3),
        "lease_seconds": options.lease,
        "opening_seconds": round(opened - began, 1),
        "idle_seconds": options.seconds,
        "server_rss_kib": after,
        "kib_per_session": round((after - before) / options.sessions, 2),
    }


async def session(stubs, index, gate, beats, stop, lease):
    """Beats every third of the lease, at a phase of its own."""
    period = lease / 3
    async with gate:
        one = await stubs.open("idle", f"idle-{index}")
    due = time.monotonic() + period * (index % 97) / 97
    while not stop.is_set():
        try:
            await asyncio.wait_for(stop.wait(), max(0, due - time.monotonic()))
        except asyncio.TimeoutError:
            began, error = time.monotonic(), await one.beat()
            beats.note(time.monotonic() - began, period, error)
            due = max(due + period, time.monotonic())


def rss_kib(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def raise_limit(files):
    """Also the server's, which inherits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < files:
        most = hard if hard != resource.RLIM_INFINITY else files
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, most), hard))


def parse():
    parser = argparse.ArgumentParser(prog="idle_sessions", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sessions", type=int, default=5000, metavar="N")
    parser.add_argument("--seconds", type=float, default=45.0, help="idle time after the last has opened")
    parser.add_argument("--lease", type=float, default=60.0, help="seconds; a heartbeat every third of it")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--stepbackd", default=os.environ.get("STEPBACKD", "stepbackd"), metavar="PATH")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

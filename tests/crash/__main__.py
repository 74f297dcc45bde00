"""Kills a real server at random moments under real clients and checks that nothing is lost and nothing counts twice.

Clients write a ledger before each push and after each acknowledgement; the server is killed (--nested: again while it
starts), comes back, and goes on. At the end of each leg every acknowledged push must be in the weights exactly once,
and all views of the weights must equal, bit for bit, those of an undisturbed server that was fed the same pushes one
after another in the order of their commits.

Exit status: 0 clean, 1 a violation, 2 usage, 3 the server cannot do what was asked (UNIMPLEMENTED).
"""

import json
import random
import sys
import tempfile
import time
from pathlib import Path

import delivery_job
import failpoint_job
import history_job
import leg
import options as command_line
import quickstart_job
import reference
import verdict
from client import ClientProcess
from jobs import Job
from server import Server

import stepback

CYCLES_PER_LEG = 25
CLIENTS = 2  # a power of two: means of it are exact


def main():
    options = command_line.parse(__doc__)
    with tempfile.TemporaryDirectory(prefix="crashtest-") as scratch:
        folder = Path(options.keep or scratch).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        run = Run(options, folder)
        try:
            status = run.go()
        except stepback.UnimplementedError as error:
            print(f"UNIMPLEMENTED: durability {options.durability}: {error}", file=sys.stderr)
            status = 3
        finally:
            run.close()
    return status


class Run:
    def __init__(self, options, folder):
        self._options, self._folder = options, folder
        self._random = random.Random(options.seed)
        drain = [f"--drain-timeout={options.drain_seconds}s"]
        self._server = Server(options.stepbackd, folder / "server", drain)
        self._undisturbed = Server(options.stepbackd, folder / "undisturbed")
        self._clients = []
        self._total = verdict.Verdict()
        self._phases, self._stops = {}, []

    def go(self):
        began = time.monotonic()
        print(f"seed {self._options.seed}, stepbackd {self._options.stepbackd}", flush=True)
        stubs = reference.make_stubs(self._folder / "stubs")
        self._server.start()
        self._undisturbed.start()
        if self._options.job != "train":
            self._total, facts = self._other_job(stubs)
            return self._report(self._options.cycles, time.monotonic() - began, facts)
        self._clients = [ClientProcess() for _ in range(CLIENTS)]
        done = 0
        while done < self._options.cycles and self._total.good:
            cycles = min(CYCLES_PER_LEG, self._options.cycles - done)
            self._leg(done // CYCLES_PER_LEG, cycles, stubs)
            done += cycles
            self._say(done, began)
        return self._report(done, time.monotonic() - began)

    def close(self):
        for process in (*self._clients, self._server, self._undisturbed):
            process.kill()

    def _other_job(self, stubs):
        if self._options.job == "deliveries":
            return delivery_job.run(self._options, self._server, self._undisturbed, stubs)
        if self._options.job == "history":
            return history_job.run(self._options, self._random, self._server, self._folder / "history")
        if self._options.job == "failpoints":
            self._clients = [ClientProcess() for _ in range(CLIENTS)]
            return failpoint_job.run(
                self._options, self._random, self._server, self._undisturbed, stubs, self._clients, self._folder
            )
        return quickstart_job.run(self._options, self._random, self._server, self._undisturbed)

    def _leg(self, index, cycles, stubs):
        folder = self._folder / f"leg-{index}"
        folder.mkdir()
        seed = self._random.getrandbits(31)
        interval = self._random.choice([0.02, 0.1, 0.5])
        jobs = [
            Job(f"{name}-{index}", self._options.mode, waits, CLIENTS, seed, self._options.durability, interval)
            for name, waits in (("free", False), ("waits", True))
        ]
        one = leg.Leg(
            self._options, self._random, self._server, self._undisturbed, stubs, self._clients, jobs, folder
        )
        self._total.add(one.run(cycles))
        self._stops += one.stops
        for phase, count in one.killer.phases.items():
            self._phases[phase] = self._phases.get(phase, 0) + count
        late = [stop for stop in one.stops if stop[0] != 0 or stop[1] > self._options.drain_seconds]
        self._total.problems += [f"SIGTERM: status {status} after {seconds:.1f} s" for status, seconds in late]
        if self._total.good and not self._options.keep:
            leg.remove(folder)

    def _say(self, done, began):
        total, seconds = self._total, time.monotonic() - began
        print(
            f"{done} cycles in {seconds:.0f} s: {total.acknowledged} acknowledged, {total.lost} lost, "
            f"{total.doubled} doubled, {'equal' if total.bit_identical else 'NOT equal'} to the reference",
            flush=True,
        )

    def _report(self, cycles, seconds, facts=None):
        total = self._total
        for problem in total.problems[:40]:
            print(problem, file=sys.stderr)
        result = {
            "cycles": cycles,
            "acknowledged": total.acknowledged,
            "lost": total.lost,
            "doubled": total.doubled,
            "bit_identical": total.bit_identical,
            "problems": len(total.problems),
            "seed": self._options.seed,
            "seconds": round(seconds, 1),
            "job": self._options.job,
            "kills": dict(sorted(self._phases.items())),
            "durability": self._options.durability,
            "mode": self._options.mode,
            "signal": self._options.signal,
            "nested": self._options.nested,
            "in_flight": self._options.in_flight,
            **(facts or {}),
        }
        if self._stops:
            result["slowest_stop_seconds"] = round(max(seconds for _, seconds in self._stops), 3)
        text = json.dumps(result, indent=2)
        if self._options.json:
            Path(self._options.json).write_text(text + "\n")
        print(text)
        return 0 if total.good else 1


if __name__ == "__main__":
    sys.exit(main())

"""Legs, one after the other, until the cycles are done or one is not clean; and what they ended with."""

import collections
import json
import sys
import time
from pathlib import Path

import leg
import verdict
from client import ClientProcess
from jobs import Job
from killer import Killer

PROBLEMS_SHOWN_MAX = 40


class Campaign:
    CLIENTS = 2  # a power of two: means of it are exact

    def __init__(self, options, random, server, undisturbed, folder, cycles_per_leg, killer=Killer):
        self._options, self._random, self._folder = options, random, folder
        self._server, self._undisturbed = server, undisturbed
        self._cycles_per_leg, self._killer = cycles_per_leg, killer
        self.total, self.phases, self.stops = verdict.Verdict(), collections.Counter(), []
        self.done, self._began = 0, time.monotonic()
        self.clients = [ClientProcess() for _ in range(self.CLIENTS)]

    def run(self, stubs):
        while self.done < self._options.cycles and self.total.good:
            cycles = min(self._cycles_per_leg, self._options.cycles - self.done)
            self._leg(self.done // self._cycles_per_leg, cycles, stubs)
            self.done += cycles
            self._say()

    def kill(self):
        for process in self.clients:
            process.kill()

    def _leg(self, index, cycles, stubs):
        folder = self._folder / f"leg-{index}"
        folder.mkdir()
        one = leg.Leg(self._options, self._random, self._server, self._undisturbed, stubs, self.clients,
                      self._jobs(index), folder, self._killer)
        try:
            self.total.add(one.run(cycles))
        finally:
            self.phases.update(one.killer.phases)
            self.stops += one.stops
        if self.total.good and not self._options.keep:
            leg.remove(folder)

    def _jobs(self, index):
        seed, interval = self._random.getrandbits(31), self._random.choice([0.02, 0.1, 0.5])
        return [
            Job(f"{name}-{index}", self._options.mode, waits, self.CLIENTS, seed, self._options.durability, interval)
            for name, waits in (("free", False), ("waits", True))
        ]

    def _say(self):
        total, seconds = self.total, time.monotonic() - self._began
        print(f"{self.done} cycles in {seconds:.0f} s: {total.acknowledged} acknowledged, {total.lost} lost, "
              f"{total.doubled} doubled, {'equal' if total.bit_identical else 'NOT equal'} to the reference", flush=True)


def report(options, total, facts):
    """Prints problems and the result, writes the result to `--json`; returns the exit status."""
    for problem in total.problems[:PROBLEMS_SHOWN_MAX]:
        print(problem, file=sys.stderr)
    result = {
        "acknowledged": total.acknowledged,
        "lost": total.lost,
        "doubled": total.doubled,
        "bit_identical": total.bit_identical,
        "problems": len(total.problems),
        **{name: getattr(options, name) for name in ("seed", "durability", "mode", "nested")},
        **facts,
    }
    text = json.dumps(result, indent=2)
    if options.json:
        Path(options.json).write_text(text + "\n")
    print(text)
    return 0 if total.good else 1

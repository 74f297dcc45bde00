"""The server dies at each of its failpoints, at the first visit, the second, and so on; and nothing is lost or doubled.

`stepbackd --list-failpoints` names the places. One that the run never dies at is a problem of its own, except those that
only models of the other durability pass.
"""

import subprocess
import threading
import time

import leg
import side_model
import verdict
from jobs import Job
from killer import PUSHES_PER_LIFE_MAX

SHOTS_PER_LEG = 25
TRIES = 3  # of one shot: the moment may pass without the visit
START_SECONDS_MAX, WAIT_SECONDS = 30.0, 4.0  # until it is ready; from then on until it is at the place
# Kinds of places with more than one visit in a short life. A life is short: killer.py says why.
VISITS = {"push": 12, "round": 8, "version": 8, "reply": 8, "block": 5, "manifest": 5, "snapshot": 5, "prune": 3, "term": 2}
# Places that only one kind of model passes.
ONLY_OF = {"push": ("journal.", "log.", "replay."), "round": ("recovery.after_term",)}
# Training need not pass these: with a log, its sessions outlive the server.
BY_OPERATOR = ("create.", "delete.", "import.", "label.", "restore.", "session.")


def run(options, random, server, undisturbed, stubs, clients, folder):
    """(verdict, facts)"""
    names, elsewhere = names_of(options)
    shots = [(name, visit_of(name, hit)) for hit in range(options.hits) for name in names]
    total, hits = verdict.Verdict(), dict.fromkeys(names, 0)
    for index in range(0, len(shots), SHOTS_PER_LEG):
        part = folder / f"leg-{index}"
        part.mkdir()
        jobs = [job_of(options, random, f"{kind}-{index}", kind == "waits", index, len(clients))
                for kind in ("free", "waits")]
        one = FailpointLeg(options, random, server, undisturbed, stubs, clients, jobs, part)
        one.shots, one.hits = shots[index : index + SHOTS_PER_LEG], hits
        total.add(one.run(len(one.shots) + 1))
        total.problems += one.side_problems
        if not total.good:
            break
    total.problems += [f"failpoint {name}: died there {count} times, expected {options.hits}"
                       for name, count in hits.items() if count < options.hits]
    return total, {"cycles": sum(hits.values()), "hits": hits, "elsewhere": elsewhere}


def names_of(options):
    listed = subprocess.run([options.stepbackd, "--list-failpoints"], capture_output=True, text=True)
    if listed.returncode != 0:
        raise SystemExit(f"{options.stepbackd} was built without STEPBACK_FAILPOINTS")
    names = [name for name in listed.stdout.split() if name.startswith(tuple(options.only.split(",")))]
    elsewhere = {name: f"--durability {other}" for other, places in ONLY_OF.items() if other != options.durability
                 for name in names if name.startswith(places)}
    return [name for name in names if name not in elsewhere], elsewhere


def visit_of(name, hit):
    return 1 + hit % VISITS.get(name.split(".")[0], 1)


def job_of(options, random, name, waits, index, clients):
    mode = ("gradient", "delta")[index // SHOTS_PER_LEG % 2]
    return Job(name, mode, waits, clients, random.getrandbits(31), options.durability, 0.02)


class FailpointLeg(leg.Leg):
    """A cycle is a shot: a life of the server that ends at one place."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.shots, self.hits, self.side_problems = [], {}, []
        self._done = 0

    def _cycle(self):
        name, visit = self.shots[self._done]
        self._done += 1
        for _ in range(TRIES):
            if self._shoot(name, visit):
                self.hits[name] += 1
                break
            visit = 1
        self._server.environment = {}
        if name.startswith(BY_OPERATOR) or self._done == len(self.shots):
            self._server.start()
            self.side_problems += [f"failpoint {name}: {problem}" for problem in side_model.check(self._server.address)]

    def _shoot(self, name, visit):
        """Whether the server died there."""
        self._server.kill()
        self._server.environment = {"STEPBACK_FAILPOINTS": f"{name}=crash:{visit}"}
        self._server.launch()
        give_up, at_start = time.monotonic() + START_SECONDS_MAX, self.killer.acknowledged()
        asked = False
        while self._server.running and time.monotonic() < give_up:
            if self._server.ready and not asked:
                asked, give_up = True, time.monotonic() + WAIT_SECONDS
                self._ask_for(name)
            if self.killer.acknowledged() - at_start >= PUSHES_PER_LIFE_MAX:
                break
            time.sleep(0.003)
        died = self._server.killed_itself
        self._server.kill()
        self.killer.phases["failpoint" if died else "missed"] += 1
        return died

    def _ask_for(self, name):
        if name.startswith("drain."):
            self._server.ask_to_stop()
        elif name.startswith(BY_OPERATOR):
            arguments = (self._server.address, str(self._folder))
            threading.Thread(target=side_model.live, args=arguments, daemon=True).start()

"""When the server dies: a random moment after a random event, drawn per cycle.

serving   some milliseconds after it listens
push      right after some acknowledgements
snapshot  right after some step of writing a snapshot (file made, closed, renamed, removed)
recovery  while it is starting, before it listens
"""

import collections
import time

from watch import Watch

WAIT_SECONDS_MAX = 3.0  # for an event that may never come
# The server's log names every commit of a burst of 100, and then leaves some out; replays come on top of these.
PUSHES_PER_LIFE_MAX = 50
KINDS = ("push", "push", "push", "snapshot", "snapshot", "serving")


class Killer:
    def __init__(self, random, server, acknowledged):
        """`acknowledged` counts the acknowledgements in all ledgers so far."""
        self.phases = collections.Counter()
        self._random, self._server, self.acknowledged = random, server, acknowledged
        self._start_seconds, self._at_start = 0.2, 0

    def await_moment(self, models):
        """Returns the kind of the moment when it has come."""
        kind = self._random.choice(KINDS)
        if kind == "push":
            self.await_pushes(self._random.randint(1, 24))
        elif kind == "snapshot":
            self._await_files(self._random.choice(models), self._random.randint(1, 12))
        else:
            time.sleep(self._random.uniform(0, 0.2))
        time.sleep(self._random.choice([0, 0, self._random.uniform(0, 0.004)]))
        return kind

    def await_pushes(self, count, seconds=WAIT_SECONDS_MAX):
        """Returns after so many more acknowledgements, or after so long."""
        wanted, deadline = self.acknowledged() + count, time.monotonic() + seconds
        while self.acknowledged() < wanted and not self._enough() and time.monotonic() < deadline:
            time.sleep(0.004)

    def kill(self, kind):
        self._server.kill()
        self.phases[kind] += 1

    def restart(self, nested):
        """Starts the server; with `nested`, kills it once to three times on the way."""
        for _ in range(self._random.randint(1, 3) if nested else 0):
            self._server.launch()
            time.sleep(self._random.uniform(0, 1.1 * self._start_seconds))
            self.kill("serving" if self._server.ready else "recovery")
        began = time.monotonic()
        self._server.start()
        self._at_start = self.acknowledged()
        self._start_seconds = 0.7 * self._start_seconds + 0.3 * (time.monotonic() - began)

    def _await_files(self, model, count):
        watch, deadline = Watch(self._server.data / "models" / model), time.monotonic() + WAIT_SECONDS_MAX
        try:
            while count and not self._enough() and time.monotonic() < deadline:
                count -= watch.next(0.05)
        finally:
            watch.close()

    def _enough(self):
        return self.acknowledged() - self._at_start >= PUSHES_PER_LIFE_MAX

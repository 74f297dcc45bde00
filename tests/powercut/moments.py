"""When the power fails: a random moment after a random event, drawn per cycle.

serving  some milliseconds after clients can connect
push     right after some acknowledgements
disk     right after the disk was given some more bytes
"""

import time

from killer import WAIT_SECONDS_MAX, Killer

EVENT_SECONDS_MAX = 30.0  # an emulated server is slow
KINDS = ("push", "push", "disk", "disk", "serving")


class Moments(Killer):
    def await_moment(self, models):
        kind = self._random.choice(KINDS)
        if kind == "push":
            self.await_pushes(self._random.randint(1, 40), EVENT_SECONDS_MAX)
        elif kind == "disk":
            self.await_pushes(self._random.randint(1, 10), EVENT_SECONDS_MAX)
            self._await_bytes(self._random.choice([1, 4096, 1 << 18]))
        else:
            time.sleep(self._random.uniform(0, 0.5))
        time.sleep(self._random.choice([0, 0, self._random.uniform(0, 0.02)]))
        return kind

    def _await_bytes(self, count):
        writes, deadline = self._server.disk.writes, time.monotonic() + WAIT_SECONDS_MAX
        wanted = writes.stat().st_size + count
        while writes.stat().st_size < wanted and time.monotonic() < deadline:
            time.sleep(0.0005)

"""Kills a real server at random moments under real clients and checks that nothing is lost and nothing counts twice.

Clients write a ledger before each push and after each acknowledgement; the server is killed (--nested: again while it
starts), comes back, and goes on. At the end of each leg every acknowledged push must be in the weights exactly once,
and all views of the weights must equal, bit for bit, those of an undisturbed server that was fed the same pushes one
after another in the order of their commits.

Exit status: 0 clean, 1 a violation, 2 usage, 3 the server cannot do what was asked (UNIMPLEMENTED).
"""

import random
import sys
import tempfile
import time
from pathlib import Path

import campaign
import delivery_job
import failpoint_job
import history_job
import options as command_line
import quickstart_job
import reference
from server import Server

import stepback

CYCLES_PER_LEG = 25


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
        self._campaign = None

    def go(self):
        began = time.monotonic()
        print(f"seed {self._options.seed}, stepbackd {self._options.stepbackd}", flush=True)
        stubs = reference.make_stubs(self._folder / "stubs")
        self._server.start()
        self._undisturbed.start()
        total, facts = self._train(stubs) if self._options.job == "train" else self._other_job(stubs)
        common = {name: getattr(self._options, name) for name in ("job", "signal", "in_flight")}
        seconds = round(time.monotonic() - began, 1)
        return campaign.report(self._options, total, {"cycles": self._options.cycles, "seconds": seconds, **common, **facts})

    def close(self):
        for process in (self._campaign, self._server, self._undisturbed):
            if process is not None:
                process.kill()

    def _train(self, stubs):
        self._legs()
        self._campaign.run(stubs)
        total, stops = self._campaign.total, self._campaign.stops
        late = [stop for stop in stops if stop[0] != 0 or stop[1] > self._options.drain_seconds]
        total.problems += [f"SIGTERM: status {status} after {seconds:.1f} s" for status, seconds in late]
        facts = {"cycles": self._campaign.done, "kills": dict(sorted(self._campaign.phases.items()))}
        if stops:
            facts["slowest_stop_seconds"] = round(max(seconds for _, seconds in stops), 3)
        return total, facts

    def _other_job(self, stubs):
        if self._options.job == "deliveries":
            return delivery_job.run(self._options, self._server, self._undisturbed, stubs)
        if self._options.job == "history":
            return history_job.run(self._options, self._random, self._server, self._folder / "history")
        if self._options.job == "failpoints":
            return failpoint_job.run(self._options, self._random, self._server, self._undisturbed, stubs,
                                     self._legs().clients, self._folder)
        return quickstart_job.run(self._options, self._random, self._server, self._undisturbed)

    def _legs(self):
        self._campaign = campaign.Campaign(self._options, self._random, self._server, self._undisturbed, self._folder,
                                           CYCLES_PER_LEG)
        return self._campaign


if __name__ == "__main__":
    sys.exit(main())

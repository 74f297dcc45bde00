"""Cuts the power of a machine that runs stepbackd, under load, and checks that nothing is lost and nothing counts twice.

A QEMU guest runs the real server on an ext4 disk; real clients on this machine train through its network. The power
fails at random moments: the guest's page cache and what its disk was not told to flush are gone. The guest boots again
from the same disk, clients replay. Ledgers, verdict and the undisturbed reference are those of tests/crash.

Exit status: 0 clean, 1 a violation, 2 usage, 3 the server cannot do what was asked (UNIMPLEMENTED), 77 skipped.
"""

import random
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "crash"))

import campaign  # noqa: E402
import command_line  # noqa: E402
import initramfs  # noqa: E402
import ledger  # noqa: E402
import reference  # noqa: E402
import system as guest_system  # noqa: E402
import verdict  # noqa: E402
from disk import Disk  # noqa: E402
from machine import Machine, TooSlow  # noqa: E402
from moments import Moments  # noqa: E402
from packages import Packages  # noqa: E402
from server import Server, StartFailed  # noqa: E402
from skip import Skip  # noqa: E402

import stepback  # noqa: E402

CYCLES_PER_LEG = 5
FIRST_BOOT_SECONDS_MAX = 300.0  # more: an emulated processor on a machine with no time for it


def main():
    options = command_line.parse(__doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the guest must not outlive this
    with tempfile.TemporaryDirectory(prefix="powercut-") as scratch:
        folder = Path(options.keep or scratch).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            run = Run(options, folder)
        except Skip as reason:
            print(f"SKIPPED: powercut: {reason}", flush=True)
            return 77
        try:
            return run.go()
        except Skip as reason:
            print(f"SKIPPED: powercut: {reason}", flush=True)
            return 77
        except stepback.UnimplementedError as error:
            print(f"UNIMPLEMENTED: durability {options.durability}: {error}", file=sys.stderr)
            return 3
        finally:
            run.close()


class Run:
    def __init__(self, options, folder):
        self._options, self._folder = options, folder
        self._random = random.Random(options.seed)
        self._planted = options.plant
        packages = Packages(options.cache)
        initial, system = folder / "initramfs", folder / "system.img"
        initramfs.write(initial, packages)
        guest_system.write(system, options.stepbackd, folder / "system")
        disk = Disk(folder, self._random)
        self._machine = Machine(folder, packages.kernel, initial, system, disk, command_line.PLANTS.get(options.plant, ""),
                                options.accelerator)
        options.plant = None  # a leg's own plants are others
        self._undisturbed = Server(options.stepbackd, folder / "undisturbed")
        self._campaign = None

    def go(self):
        began = time.monotonic()
        print(f"seed {self._options.seed}, stepbackd {self._options.stepbackd}", flush=True)
        stubs = reference.make_stubs(self._folder / "stubs")
        self._first_boot()
        self._undisturbed.start()
        self._campaign = campaign.Campaign(self._options, self._random, self._machine, self._undisturbed, self._folder,
                                           CYCLES_PER_LEG, killer=Moments)
        try:
            self._campaign.run(stubs)
        except (StartFailed, stepback.NotFoundError, stepback.DataLossError) as error:
            self._campaign.total.add(_all_lost(self._folder, error))
        return self._report(time.monotonic() - began)

    def close(self):
        for process in (self._campaign, self._machine, self._undisturbed):
            if process is not None:
                process.kill()

    def _first_boot(self):
        try:
            self._machine.choose_accelerator()
        except TooSlow as error:
            raise Skip(f"the guest does not boot in time; {error}") from None
        seconds, accelerator = self._machine.boots[0], self._machine.accelerator
        print(f"the guest boots in {seconds:.1f} s (accelerator {accelerator})", flush=True)
        if seconds > FIRST_BOOT_SECONDS_MAX:
            raise Skip(f"the guest needs {seconds:.0f} s to boot (accelerator {accelerator})")

    def _report(self, seconds):
        boots, disk = self._machine.boots, self._machine.disk
        return campaign.report(self._options, self._campaign.total, {
            "cycles": self._campaign.done,
            "seconds": round(seconds, 1),
            "cuts": dict(sorted(self._campaign.phases.items())),
            "accelerator": self._machine.accelerator,
            "boot_seconds_median": round(statistics.median(boots), 2),
            "boot_seconds_max": round(max(boots), 2),
            "flushes": disk.flushes,
            "pieces_lost_by_disk": disk.lost_pieces,
            "plant": self._planted,
        })


def _all_lost(folder, error):
    """The model or the server does not come back: what nobody can read is lost."""
    ledgers = [ledger.read(path) for path in folder.glob("leg-*/*.ledger")]
    count = sum(entry.acknowledged for entries in ledgers for entry in entries.values())
    return verdict.Verdict(acknowledged=count, lost=count, bit_identical=False,
                           problems=[f"{type(error).__name__}: {error}"])


if __name__ == "__main__":
    sys.exit(main())

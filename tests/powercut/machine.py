"""The server under test: a stepbackd in a virtual machine whose power fails. Stands where crash/server.py's Server does."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import initramfs
import qmp
from server import StartFailed, free_port
from skip import Skip

QEMU = "qemu-system-x86_64"
# A KVM that is itself virtual may refuse the MSR of the feature left out, and QEMU then aborts.
CPU = "max,arch-capabilities=off"
ACCELERATORS = {"kvm": "kvm", "tcg": "tcg,thread=single"}
# In seconds of the processor: a boot takes 5 to 10 of an emulated one, however busy the machine is.
BOOT_SECONDS_MAX = 60.0
STARVED_SECONDS_MAX = 900.0  # by the clock
KVM_PROBE_SECONDS = 6.0  # a KVM inside another virtual machine may accept a guest and never run it
# Nothing that measures time: on a busy machine an emulated timer comes too late for the kernel.
BOOT = "no_timer_check mitigations=off nokaslr"


class TooSlow(StartFailed):
    """The guest runs, and does not get there in time."""


class Machine:
    """`failpoints`: the guest's STEPBACK_FAILPOINTS, of a build that has them."""

    def __init__(self, folder, kernel, initial, system, disk, failpoints, accelerator=None):
        if shutil.which(QEMU) is None:
            raise Skip(f"there is no {QEMU} here")
        self.log, self._console = folder / "server.log", folder / "console.log"
        self._errors, self._monitor = folder / "qemu.log", folder / "monitor"
        self._kernel, self._initial, self._system, self._failpoints = kernel, initial, system, failpoints
        self.accelerator = accelerator or ("kvm" if os.access("/dev/kvm", os.R_OK | os.W_OK) else "tcg")
        self.disk, self._port, self._process = disk, free_port(), None
        self.boots = []  # seconds each
        self.log.touch()

    @property
    def address(self):
        return f"127.0.0.1:{self._port}"

    @property
    def ready(self):
        return self._console.exists() and initramfs.READY in self._console.read_text(errors="replace")

    def launch(self):
        self.disk.power_on()
        self._console.unlink(missing_ok=True)
        self._began = time.monotonic()
        with open(self._errors, "ab") as errors:
            self._process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)

    def choose_accelerator(self):
        """KVM where it runs the guest, else an emulated processor. Leaves the guest running."""
        try:
            self.launch()
            self.await_ready(KVM_PROBE_SECONDS if self.accelerator == "kvm" else BOOT_SECONDS_MAX)
        except StartFailed:
            self.kill()
            if self.accelerator == "tcg":
                raise
            self.accelerator = "tcg"
            self.start()

    def await_ready(self, seconds=BOOT_SECONDS_MAX):
        while not self.ready:
            late = self._processor_seconds() > seconds or time.monotonic() - self._began > STARVED_SECONDS_MAX
            if self._process.poll() is not None or late:
                raise (TooSlow if late else StartFailed)(f"QEMU's status {self._process.poll()}; {self._last_words()}")
            time.sleep(0.02)
        self.boots.append(time.monotonic() - self._began)
        # Only now: a port that is open before the guest listens would swallow connections.
        qmp.hostfwd_add(self._monitor, f"tcp:{self.address}-{initramfs.ADDRESS}:{initramfs.PORT}")

    def start(self):
        self.launch()
        self.await_ready()

    def kill(self):
        """The power fails; the disk is what that left when this returns."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None
        self.disk.power_off()

    def _processor_seconds(self):
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime

    def _last_words(self):
        paths = (self._errors, self._console, self.log)
        return "\n".join(f"{path.name} ends:\n{_end(path)}" for path in paths if path.exists())

    def _command(self):
        return [
            QEMU, "-accel", ACCELERATORS[self.accelerator], "-cpu", CPU, "-smp", "1", "-m", "1024",
            "-machine", "q35", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-kernel", str(self._kernel), "-initrd", str(self._initial),
            "-append", f"console=ttyS0 quiet panic=-1 {BOOT} STEPBACK_FAILPOINTS={self._failpoints}",
            "-qmp", f"unix:{self._monitor},server=on,wait=off",
            "-chardev", f"file,id=console,path={self._console}", "-serial", "chardev:console",
            "-device", "virtio-serial-pci", "-chardev", f"file,id=log,path={self.log},append=on",
            "-device", "virtserialport,chardev=log,nr=1",
            "-netdev", "user,id=net,restrict=on", "-device", "virtio-net-pci,netdev=net,romfile=",
            "-blockdev", json.dumps(self._blockdev()), "-device", "virtio-blk-pci,drive=disk,write-cache=on",
            "-drive", f"if=none,id=system,format=raw,readonly=on,file={self._system}",
            "-device", "virtio-blk-pci,drive=system",
        ]  # fmt: skip

    def _blockdev(self):
        return {
            "driver": "blklogwrites", "node-name": "disk",
            "file": {"driver": "file", "filename": str(self.disk.image), "cache": {"direct": True}},
            "log": {"driver": "file", "filename": str(self.disk.writes)},
        }  # fmt: skip


def _end(path, lines=15):
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])

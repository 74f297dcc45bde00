"""The guest's kernel and busybox: Debian packages that are fetched and unpacked, never installed."""

import platform
import re
import shutil
import subprocess

from skip import Skip

KERNEL = "linux-image-cloud-amd64"  # made for virtual machines: few drivers, boots in about a second


class Packages:
    """`folder` keeps them between runs."""

    def __init__(self, folder):
        if platform.machine() != "x86_64":
            raise Skip(f"the guest is x86_64, this machine is {platform.machine()}")
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._kernel = self._unpacked(self._kernel_name())
        self._busybox = self._unpacked("busybox-static")

    @property
    def kernel(self):
        return next(self._kernel.glob("boot/vmlinuz-*"))

    @property
    def busybox(self):
        return next(path for path in self._busybox.glob("**/bin/busybox") if path.is_file())

    def modules(self, names):
        """The modules' files and those they need, each after what it needs."""
        files = {path.stem.replace("-", "_"): path for path in self._kernel.glob("lib/modules/**/*.ko")}
        ordered = []

        def add(name):
            path = files.get(name)  # absent: built into the kernel
            if path is None or path in ordered:
                return
            for needed in filter(None, _depends(path).split(",")):
                add(needed.replace("-", "_"))
            ordered.append(path)

        for name in names:
            add(name)
        return ordered

    def _kernel_name(self):
        known = [path.name for path in self._folder.glob("linux-image-*") if path.is_dir()]
        if known:
            return sorted(known)[-1]
        names = re.findall(r"Depends: (linux-image-\S+)", _apt("apt-cache", "depends", KERNEL))
        if not names:
            raise Skip(f"apt has no package {KERNEL}")
        return names[0]

    def _unpacked(self, name):
        target = self._folder / name
        if not target.is_dir():
            _apt("apt-get", "download", name, cwd=self._folder)
            archive = next(self._folder.glob(f"{name}_*.deb"))
            partial = self._folder / "partial"
            shutil.rmtree(partial, ignore_errors=True)
            _apt("dpkg", "-x", str(archive), str(partial))
            partial.rename(target)
            archive.unlink()
        return target


def _depends(module):
    found = re.search(rb"\0depends=([^\0]*)\0", module.read_bytes())
    return found.group(1).decode() if found else ""


def _apt(*command, cwd=None):
    try:
        return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise Skip(f"there is no {command[0]} here") from None
    except subprocess.CalledProcessError as error:
        raise Skip(f"{' '.join(command)}: {error.stderr.strip()[-300:]}") from None

"""The guest's second disk, read only: stepbackd and its shared libraries, read as they are needed."""

import re
import shutil
import subprocess

SERVER = "/bin/stepbackd"


def write(image, stepbackd, scratch):
    """An ext4 image; `scratch` is a folder that is made and removed."""
    for folder in ("bin", "dev", "proc", "sys", "run", "data", "tmp"):
        (scratch / folder).mkdir(parents=True)
    shutil.copy(stepbackd, scratch / SERVER.lstrip("/"))
    for library in libraries(stepbackd):
        target = scratch / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    kib = sum(path.stat().st_size for path in scratch.glob("**/*")) // 1024
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", scratch, image, f"{kib + kib // 4 + 8192}k"],
                   check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    shutil.rmtree(scratch)


def libraries(program):
    """Paths of all shared libraries that it loads, the loader among them."""
    said = subprocess.run(["ldd", str(program)], check=True, capture_output=True, text=True).stdout
    missing = re.findall(r"(\S+) => not found", said)
    if missing:
        raise RuntimeError(f"{program}: libraries not found: {', '.join(missing)}")
    return re.findall(r"(/\S+) \(0x", said)

"""How long a killed server takes until it serves again, against how long the disk takes to read its state.

Makes a model whose state fills the bytes asked for (slow and fast weights, both moments of Adam), stops the server, and
then, run after run: reads the snapshot's files with nothing else to do (sequential, 4 MiB at a time, past the page cache), and
starts the server, from exec to /readyz. The promise: median <= 1.2 x bytes / speed + 1 s, the speed being the median of
the bare reads. Exit status: 0 kept, 1 not kept.
"""

import argparse
import json
import mmap
import os
import statistics
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[2] / "crash"))

from server import Server  # noqa: E402

import stepback  # noqa: E402
from stepback.testing import find_program  # noqa: E402

BLOCK = 4 << 20
TENSORS = 8
BYTES_PER_PARAMETER = 16  # slow and fast weights, two moments


def main():
    options = parse()
    with tempfile.TemporaryDirectory(prefix="recovery-", dir=options.directory) as folder:
        server = Server(options.stepbackd, folder)
        other = Server(options.against, folder) if options.against else None  # on the same data
        try:
            return measure(options, server, other)
        finally:
            server.kill()


def parse():
    parser = argparse.ArgumentParser(prog="recovery_bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=int, default=1_000_000_000, help="of state")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--against", metavar="PATH", help="another stepbackd, started in turn with this one")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--directory", metavar="DIR", help="on the disk to measure; default: that of temporary files")
    parser.add_argument("--stepbackd", default=os.environ.get("STEPBACKD"), metavar="PATH")
    options = parser.parse_args()
    options.stepbackd = find_program(options.stepbackd)
    return options


def measure(options, server, other):
    make_state(server, options.bytes)
    files = newest_snapshot(server.data)
    size = sum(path.stat().st_size for path in files)
    bare, starts, others = [], [], []
    for number in range(options.runs):
        bare.append(read_bare(files))
        starts.append(start(server, files))
        if other is not None:
            others.append(start(other, files))
        print(f"run {number + 1}: bare read {bare[-1]:.2f} s ({size / bare[-1] / 1e9:.2f} GB/s), start to ready "
              f"{starts[-1]:.2f} s" + (f", the other {others[-1]:.2f} s" if others else ""), flush=True)
    return report(options, size, bare, starts, others)


def report(options, size, bare, starts, others):
    read, taken = statistics.median(bare), statistics.median(starts)
    result = {
        "bytes": size,
        "runs": options.runs,
        "bare_seconds": round(read, 3),
        "bare_gb_per_s": round(size / read / 1e9, 3),
        "recovery_seconds": round(taken, 3),
        "recovery_seconds_best": round(min(starts), 3),
        "limit_seconds": round(1.2 * read + 1, 3),
        "load_average": os.getloadavg()[0],
    }
    if others:
        result["other_seconds"] = round(statistics.median(others), 3)
    result["kept"] = result["recovery_seconds"] <= result["limit_seconds"]
    text = json.dumps(result, indent=2)
    if options.json:
        Path(options.json).write_text(text + "\n")
    print(text)
    return 0 if result["kept"] else 1


def make_state(server, size):
    count = size // BYTES_PER_PARAMETER // TENSORS
    generator = np.random.default_rng(1)
    weights = {f"w{i}": generator.standard_normal(count, dtype=np.float32) for i in range(TENSORS)}
    server.start()
    with stepback.connect(server.address, connect_timeout=60) as connection:
        model = connection.create_model("m", weights, mode="gradient", inner=stepback.adam(lr=0.01))
        with model.join("worker") as worker:
            worker.pull()
            worker.push_gradient(weights)
        model.save_snapshot()
    server.terminate()


def newest_snapshot(data):
    folder = max((data / "models" / "m").glob("snap-*"))
    return sorted(folder.glob("*.bin"))


def read_bare(files):
    drop_cached(files)
    buffer = mmap.mmap(-1, BLOCK)  # aligned, and faulted in before the clock starts
    buffer.write(bytes(BLOCK))
    began = time.monotonic()
    for path in files:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
        while os.readv(fd, [buffer]):
            pass
        os.close(fd)
    return time.monotonic() - began


def drop_cached(files):
    for path in files:
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def start(server, files):
    drop_cached(files)
    began = time.monotonic()
    server.launch()
    server.await_ready()
    address = f"http://127.0.0.1:{server.http_port()}/readyz"
    while not answers(address):
        time.sleep(0.002)
    taken = time.monotonic() - began
    server.kill()
    return taken


def answers(address):
    try:
        return urllib.request.urlopen(address, timeout=5).status == 200
    except (urllib.error.URLError, ConnectionError):
        return False


if __name__ == "__main__":
    sys.exit(main())

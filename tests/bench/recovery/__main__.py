"""How long a killed server takes until it serves again, against how long the disk takes to read its state.

Makes a model whose state fills the bytes asked for (slow and fast weights, both moments of Adam), stops the server, and
then, run after run: reads the snapshot's files with nothing else to do (disk.py), starts the server, from exec to
/readyz, and touches as much fresh memory as the state takes. The promise: median <= 1.2 x bytes / speed + 1 s, the
speed being that of the faster of two bare readers (into huge pages); the limit by the other is printed beside it, as
are processor seconds. Exit status: 0 kept, 1 not kept.
"""

import statistics
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from processor import spent_by, spent_here, touch

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "crash")]

import command_line  # noqa: E402
from disk import drop_cached, read_into_huge_pages, read_into_small_pages  # noqa: E402
from server import Server  # noqa: E402
from state import big_weights, create_big_model, newest_snapshot  # noqa: E402

import stepback  # noqa: E402


def main():
    options = options_given()
    with tempfile.TemporaryDirectory(prefix="recovery-", dir=options.directory) as folder:
        server = Server(options.stepbackd, folder)
        other = Server(options.against, folder) if options.against else None  # on the same data
        try:
            return measure(options, server, other)
        finally:
            for each in filter(None, (server, other)):
                each.kill()


def options_given():
    parser = command_line.new_parser("recovery_bench", __doc__)
    parser.add_argument("--against", metavar="PATH", help="another stepbackd, started in turn with this one")
    return command_line.parse(parser)


def measure(options, server, other):
    make_state(server, options.bytes)
    files = newest_snapshot(server.data, "m")
    size = sum(path.stat().st_size for path in files)
    servers = {"recovery": server} | ({"other": other} if other else {})
    runs = []
    for number in range(options.runs):
        runs.append(measure_once(servers, files, size))
        servers = dict(reversed(servers.items()))  # the second finds memory that the first has given back
        print(f"run {number + 1}: " + ", ".join(f"{key} {value:.2f}" for key, value in runs[-1].items()), flush=True)
    return report(options, size, runs)


def measure_once(servers, files, size):
    """Seconds, by name; those of processors say so."""
    bare, bare_processor = spent_here(lambda: read_into_huge_pages(files))
    run = {
        "bare_seconds": bare,
        "bare_small_pages_seconds": read_into_small_pages(files),
        "bare_processor_seconds": bare_processor,
    }
    for name, server in servers.items():
        run[f"{name}_seconds"], run[f"{name}_user_seconds"], run[f"{name}_system_seconds"] = start(server, files)
        if "fresh_memory_processor_seconds" not in run:  # beside a server, so that its memory is not found again
            run["fresh_memory_processor_seconds"] = spent_here(lambda: touch(size))[1]
        server.kill()
    return run


def report(options, size, runs):
    result = {"bytes": size, "runs": options.runs}
    result |= {key: round(statistics.median(run[key] for run in runs), 3) for key in sorted(runs[0])}
    result["bare_gb_per_s"] = round(size / result["bare_seconds"] / 1e9, 3)
    result["recovery_seconds_best"] = round(min(run["recovery_seconds"] for run in runs), 3)
    result["limit_seconds"] = round(limit(result["bare_seconds"]), 3)
    result["limit_small_pages_seconds"] = round(limit(result["bare_small_pages_seconds"]), 3)
    result |= command_line.machine()
    result["kept"] = result["recovery_seconds"] <= result["limit_seconds"]
    return command_line.tell(options, result, verdict(result))


def limit(bare_seconds):
    return 1.2 * bare_seconds + 1


def verdict(result):
    return (f"{result['bytes'] / 1e9:.2f} GB, recovery {result['recovery_seconds']:.2f} s, limit {result['limit_seconds']:.2f} s "
            f"({result['limit_small_pages_seconds']:.2f} s by a reader into small pages)")


def make_state(server, size):
    weights = big_weights(size)
    server.start()
    with stepback.connect(server.address, connect_timeout=60) as connection:
        model = create_big_model(connection, "m", weights)
        with model.join("worker") as worker:
            worker.pull()
            worker.push_gradient(weights)
        model.save_snapshot()
    server.terminate()


def start(server, files):
    """(seconds from exec to ready, processor seconds until then: user, system). The server goes on running."""
    drop_cached(files)
    began = time.monotonic()
    server.launch()
    server.await_ready()
    address = f"http://127.0.0.1:{server.http_port()}/readyz"
    while not answers(address):
        time.sleep(0.002)
    taken = time.monotonic() - began
    return taken, *spent_by(server.pid)


def answers(address):
    try:
        return urllib.request.urlopen(address, timeout=5).status == 200
    except (urllib.error.URLError, ConnectionError):
        return False


if __name__ == "__main__":
    sys.exit(main())

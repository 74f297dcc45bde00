"""What a snapshot costs: those who train meanwhile, and itself beside a bare writer of as many bytes.

A model whose state fills the bytes asked for. Run after run: a push changes everything; a snapshot, and a bare
writer (disk.py) of its size; calls that the model's strand answers while another snapshot is written, beside the same
calls to another model that has none (latency.py); a push alone, one beside a snapshot, and one behind it. The promises: the calls'
99th percentile is at most 1 ms above that of the other model, and the snapshot takes at most 1 / 0.8 of the bare
writer's time (medians). Exit status: 0 kept, 1 not kept.

At last a worker with the usual bound of two pushes that are not on disk trains, first with pauses to compute in that are
as long as a snapshot takes, then without any: how long its pushes wait for room.
"""

import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from latency import ask_in_turn, quantile

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "crash")]

import command_line  # noqa: E402
from disk import write_from_huge_pages  # noqa: E402
from server import Server  # noqa: E402
from state import big_weights, create_big_model, newest_snapshot  # noqa: E402

import stepback  # noqa: E402

STALL_SECONDS_MAX = 1e-3
WRITE_RATIO_MIN = 0.8
QUIET_SECONDS = 1.0
NEVER_BY_ITSELF = 86_400.0  # seconds between snapshots: only those that are asked for
ROOM_FOR_ALL = 1 << 40  # bytes of pushes: the worker asks for none
TRAINING_PUSHES = 8


def main():
    options = options_given()
    with tempfile.TemporaryDirectory(prefix="snapshot-", dir=options.directory) as folder:
        server = Server(options.stepbackd, folder)
        server.start()
        try:
            with stepback.connect(server.address) as connection, stepback.connect(server.address) as saver:
                return measure(options, Scene(server, connection, saver, options))
        finally:
            server.kill()


def options_given():
    parser = command_line.new_parser("snapshot_bench", __doc__)
    parser.add_argument("--durability", choices=("volatile", "round", "push"), default="round")
    return command_line.parse(parser)


class Scene:
    """The big model with a worker, the small one beside it, and a connection of its own that asks for snapshots."""

    def __init__(self, server, connection, saver, options):
        self.data = server.data
        self.gradient = big_weights(options.bytes)
        settings = {"durability": options.durability, "snapshot_interval_seconds": NEVER_BY_ITSELF}
        self.model = create_big_model(connection, "m", self.gradient, **settings)
        self.beside = create_big_model(connection, "beside", {"w": self.gradient["w0"][:1]}, **settings)
        self._other = self.beside.join("other")
        self.worker = self.model.join("worker", replay_bytes_max=ROOM_FOR_ALL)
        self._saver = saver.model("m")

    def push(self, pause=0):
        """Seconds; not the pull that goes before, nor what the worker computes then."""
        self.worker.pull()
        time.sleep(pause)
        began = time.monotonic()
        result = self.worker.push_gradient(self.gradient)
        taken = time.monotonic() - began
        if result.outcome != "applied":
            raise RuntimeError(f"a push changed nothing: {result}")
        return taken

    def await_deletions(self):
        """Of what the newest snapshot replaces: the disk is idle then."""
        self.model.snapshots()

    def snapshot(self):
        """Seconds."""
        began = time.monotonic()
        self._saver.save_snapshot()
        return time.monotonic() - began

    def begin_snapshot(self):
        """A thread that ends with it."""
        thread = threading.Thread(target=self.snapshot)
        thread.start()
        return thread

    def ask(self, until):
        return ask_in_turn(self.model.sessions, self.beside.sessions, until)

    def bare_write(self):
        """(bytes, seconds)."""
        self.await_deletions()
        size = sum(path.stat().st_size for path in newest_snapshot(self.data, "m"))
        path = self.data / "bare"
        seconds = write_from_huge_pages(path, size)
        path.unlink()
        return size, seconds


def measure(options, scene):
    measure_once(scene)  # the others find the memory that it leaves
    runs = []
    for number in range(options.runs):
        runs.append(measure_once(scene))
        print(f"run {number + 1}: " + ", ".join(f"{key} {value:.4g}" for key, value in runs[-1].items()), flush=True)
    return report(options, runs, training(scene, statistics.median(run["snapshot_seconds"] for run in runs)))


def training(scene, snapshot_seconds):
    """Mean seconds of a push, by what the worker does before."""
    scene.worker.close()
    scene.worker = scene.model.join("worker")
    pauses = {"computing": 1.2 * snapshot_seconds, "at_once": 0}
    return {f"training_push_{name}_seconds": statistics.mean(scene.push(pause) for _ in range(TRAINING_PUSHES))
            for name, pause in pauses.items()}


def measure_once(scene):
    alone = scene.push()
    scene.await_deletions()
    snapshot_alone = scene.snapshot()
    size, bare = scene.bare_write()
    scene.push()
    end = time.monotonic() + QUIET_SECONDS
    quiet, quiet_beside = scene.ask(lambda: time.monotonic() > end)
    snapshot = scene.begin_snapshot()
    busy, busy_beside = scene.ask(lambda: not snapshot.is_alive())
    scene.push()
    snapshot = scene.begin_snapshot()
    beside = scene.push()
    snapshot.join()
    after = scene.push()
    run = {"bytes": size, "snapshot_seconds": snapshot_alone, "bare_seconds": bare, "push_seconds": alone,
           "push_beside_snapshot_seconds": beside, "push_after_snapshot_seconds": after, "calls": len(busy)}
    for name, seconds in (("quiet", quiet), ("quiet_beside", quiet_beside), ("snapshot", busy),
                          ("snapshot_beside", busy_beside)):
        for label, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
            run[f"{name}_{label}_ms"] = 1e3 * quantile(seconds, share)
    return run


def report(options, runs, trained):
    result = {"runs": options.runs, "durability": options.durability}
    result |= {key: round(statistics.median(run[key] for run in runs), 4) for key in runs[0]}
    result |= {key: round(seconds, 4) for key, seconds in trained.items()}
    result["write_ratio"] = round(result["bare_seconds"] / result["snapshot_seconds"], 3)
    result["stall_ms"] = round(
        statistics.median(run["snapshot_p99_ms"] - run["snapshot_beside_p99_ms"] for run in runs), 4)
    result |= command_line.machine()
    result["kept"] = result["stall_ms"] <= 1e3 * STALL_SECONDS_MAX and result["write_ratio"] >= WRITE_RATIO_MIN
    return command_line.tell(options, result, verdict(result))


def verdict(result):
    return (f"{result['bytes'] / 1e9:.2f} GB, stall {result['stall_ms']:.3f} ms "
            f"of at most {1e3 * STALL_SECONDS_MAX:g}; snapshot {result['snapshot_seconds']:.2f} s, bare writer "
            f"{result['bare_seconds']:.2f} s: {result['write_ratio']:.2f} of its speed, at least {WRITE_RATIO_MIN:g}")


if __name__ == "__main__":
    sys.exit(main())

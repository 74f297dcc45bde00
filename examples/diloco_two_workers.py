"""Two DiLoCo workers in NumPy alone: each fits a line to data of its own and meets the other every 20 steps.

    PYTHONPATH=build/release/python /usr/bin/python3 examples/diloco_two_workers.py

With `--server host:port` the workers use a server that runs already, and may run on different machines:
    ... diloco_two_workers.py --server 10.0.0.5:7400 --worker 0      # and --worker 1 elsewhere
"""

import argparse
import threading

import numpy as np

import stepback

ROUNDS, LOCAL_STEPS, RATE = 15, 20, 0.05
SLOPE, OFFSET = 3.0, -1.0


def start():
    return {"slope": np.zeros((), np.float32), "offset": np.zeros((), np.float32)}


def local_steps(weights, data):
    """Plain gradient descent on one worker's data."""
    slope, offset = weights["slope"], weights["offset"]
    for _ in range(LOCAL_STEPS):
        x, y = data.normal(size=32), data.normal(size=32) * 0.1
        error = slope * x + offset - (SLOPE * x + OFFSET + y)
        slope = slope - RATE * (error * x).mean()
        offset = offset - RATE * error.mean()
    return {"slope": slope, "offset": offset}


def work(address, index, insecure=False):
    with stepback.connect(address, insecure=insecure) as server:
        model = server.create_model(
            "line",
            start(),
            outer=stepback.diloco(),
            rounds=stepback.sync(quorum=2),
            finish_after_steps=ROUNDS,
        )
        data = np.random.default_rng(index)
        with model.join(f"worker-{index}") as worker:
            weights = worker.pull()
            while not worker.finished:
                weights = worker.step(
                    local_steps(weights, data), samples=32 * LOCAL_STEPS, local_steps=LOCAL_STEPS
                )
                if index == 0:
                    print(
                        f"  version {weights.version}: y = {weights['slope']:.3f} x {weights['offset']:+.3f}"
                    )


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--server", help="host:port; default: one of its own, with both workers in this process"
    )
    parser.add_argument("--worker", type=int, default=0, help="this worker's number, with --server")
    parser.add_argument("--insecure", action="store_true", help="plain text to another host")
    options = parser.parse_args()
    if options.server:
        work(options.server, options.worker, options.insecure)
        return
    with stepback.serve_local() as local:
        workers = [threading.Thread(target=work, args=(local.address, index)) for index in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()


if __name__ == "__main__":
    main()

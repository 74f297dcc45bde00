"""Trains two small models through a server until a line comes in: what the monitoring checks look at.

Two workers share the rounds of the model "delta", so that each round waits for the one that pushes last; "gradient" keeps a
log.

Usage: training_load.py ADDRESS
"""

import select
import sys
import threading

import numpy

import stepback


def step_until(ended, worker):
    weights = worker.pull()
    while not ended.is_set():
        weights = worker.step(weights)


def train(delta, a, b):
    weights = a.pull()
    b.pull()
    while not select.select([sys.stdin], [], [], 0)[0]:
        health = {"train_loss": 1.0, "gradient_norm": 2.0, "compute_seconds": 0.5, "wait_seconds": 0.1}
        a.health(**health)
        b.health(**health)
        weights = a.step({name: 0.99 * value for name, value in weights.items()})
        b.push_gradient(weights)
        delta.report(weights.version, test_loss=1.0)


def main(address):
    with stepback.connect(address) as server:
        weights = {"w": numpy.ones((64, 64), numpy.float32), "b": numpy.zeros(64, numpy.float32)}
        delta = server.create_model("delta", weights, outer=stepback.diloco())
        gradient = server.create_model("gradient", weights, mode="gradient", inner=stepback.sgd(lr=0.01),
                                       outer=stepback.lookahead(alpha=0.5), sync_period=5, rounds=stepback.asynchronous(),
                                       durability="push")
        ended = threading.Event()
        with delta.join("worker-1") as other:
            thread = threading.Thread(target=step_until, args=(ended, other), daemon=True)
            with delta.join("worker-0") as a, gradient.join("worker-0") as b:
                thread.start()
                train(delta, a, b)
                ended.set()
            thread.join()  # its last round closed when worker-0 left


if __name__ == "__main__":
    main(sys.argv[1])

"""A client in a process of its own: one worker per model, each with its ledger. One command per line in:

{"command": "begin", "address": ..., "jobs": [...], "index": 0, "folder": ...}
{"command": "end", "limits": {model: last push, or null: at once}}   answered, as JSON, when all have left
"""

import collections
import dataclasses
import json
import random
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pushes
from jobs import Job, client_id
from ledger import Ledger

import stepback

GIVE_UP_SECONDS = 300.0
KEPT_PUSHES = [2, 6, 20]  # for replays
CONNECTION = {"give_up_after": GIVE_UP_SECONDS, "connect_timeout": 60, "backoff_max": 0.1}


class Trainer(threading.Thread):
    """One worker. Pushes until it is told where to stop; `error` says why it ended early.

    With `in_flight` above 1 it goes on while that many pushes are on their way; the ledger has each before it is sent.
    """

    def __init__(self, address, job, index, folder, pause, in_flight):
        super().__init__(daemon=True)
        self.job, self.index = job, index
        self.limit = None
        self.error = None
        self._address = address
        self._ledger = Ledger(Path(folder) / f"{job.name}.{index}.ledger")
        self._pause, self._in_flight = pause, in_flight
        self._window = collections.deque()  # (number, future)
        self._random = random.Random(f"{job.seed} {index} {job.name}")

    def run(self):
        try:
            with stepback.connect(self._address, **CONNECTION) as server:
                kept = self._random.choice(KEPT_PUSHES) * pushes.payload_bytes(self.job.clients)
                model = open_model(server, self.job.name)
                with model.join(
                    client_id(self.index), replay_bytes_max=kept, max_in_flight=self._in_flight
                ) as worker:
                    self._train(worker)
                    self._settle(0)
        except Exception as error:
            self.error = f"{self.job.name}, client {self.index}: {type(error).__name__}: {error}"

    def _train(self, worker):
        weights = worker.pull()
        for number in range(1, pushes.CAPACITY + 1):
            if self.limit is not None and number > self.limit:
                return
            push = self._push if self._in_flight == 1 else self._push_async
            weights = push(worker, weights, number)
            if number % self._in_flight == 0:  # a burst fills the window
                time.sleep(self._in_flight * self._random.uniform(0, self._pause))

    def _push_async(self, worker, weights, number):
        change = pushes.change(self.job.seed, self.index, number, self.job.clients, self.job.share)
        values, delta = {**change, "digits": -change["digits"]}, None
        if self.job.mode == "delta":
            values = {name: weights[name] + change[name] for name in weights}
            delta = pushes.payload({name: weights[name] - values[name] for name in weights})
        self._settle(self._in_flight - 1)
        self._ledger.sent(number, delta)
        self._window.append((number, worker.push_async(values, samples=pushes.samples(number))))
        return worker.pull() if self._random.random() < 0.3 / self._in_flight else weights

    def _settle(self, leave):
        """Acknowledges the oldest pushes until `leave` are on their way."""
        while len(self._window) > leave:
            number, future = self._window.popleft()
            self._ledger.acknowledged(number, future.result())

    def _push(self, worker, weights, number):
        change = pushes.change(self.job.seed, self.index, number, self.job.clients, self.job.share)
        samples = pushes.samples(number)
        if self.job.mode == "gradient":
            # Descent at a rate of 1 adds what is counted.
            return self._gradient(worker, weights, number, {**change, "digits": -change["digits"]}, samples)
        moved = {name: weights[name] + change[name] for name in weights}
        self._ledger.sent(number, pushes.payload({name: weights[name] - moved[name] for name in weights}))
        if self.job.waits:
            new = worker.step(moved, samples=samples)
            self._ledger.acknowledged(number, result_of(new))
            return new
        self._ledger.acknowledged(number, worker.push_weights(moved, samples=samples))
        return worker.pull() if self._random.random() < 0.3 else weights

    def _gradient(self, worker, weights, number, gradient, samples):
        self._ledger.sent(number)
        if self.job.waits:
            new = worker.step_gradient(gradient, samples=samples)
            self._ledger.acknowledged(number, result_of(new))
            return new
        self._ledger.acknowledged(number, worker.push_gradient(gradient, samples=samples))
        return worker.pull() if self._random.random() < 0.3 else weights


def open_model(server, name):
    """Small calls try for `control_timeout` only; here the server may be away for longer."""
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while True:
        try:
            return server.model(name)
        except stepback.UnavailableError:
            if time.monotonic() > deadline:
                raise


def result_of(weights):
    """The push's own answer; a step that was resynced says so whatever the push's first answer was."""
    step = weights.step
    return dataclasses.replace(step.push, outcome="resynced") if step.outcome == "resynced" else step.push


class Client:
    def __init__(self):
        self.trainers = []

    def begin(self, address, jobs, index, folder, pause, in_flight):
        self.trainers = [Trainer(address, Job(**job), index, folder, pause, in_flight) for job in jobs]
        for trainer in self.trainers:
            trainer.start()

    def end(self, limits):
        for trainer in self.trainers:
            trainer.limit = limits[trainer.job.name] or 0
        for trainer in self.trainers:
            trainer.join(GIVE_UP_SECONDS)
        late = [f"{t.job.name}, client {t.index}: still waiting" for t in self.trainers if t.is_alive()]
        return {"errors": late + [t.error for t in self.trainers if t.error]}


def main():
    np.seterr(all="raise")
    client = Client()
    for line in sys.stdin:
        message = json.loads(line)
        answer = getattr(client, message.pop("command"))(**message)
        if answer is not None:
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

"""A writer or a reader of the history job, in a process of its own. Writes one event per line to a file.

witness_process.py writer|reader INDEX ADDRESS MODEL CLIENTS FILE; ends when its standard input does.
"""

import json
import os
import random
import sys
import threading
import time

import numpy as np
import pushes
from client_process import CONNECTION, open_model
from jobs import client_id

import stepback

TENSORS = ("a", "b", "c")


def zeros(clients):
    return {name: np.zeros((clients, pushes.ELEMENTS), np.float32) for name in TENSORS}


class Witness:
    def __init__(self, role, index, address, model, clients, file):
        self._role, self._index, self._clients = role, int(index), int(clients)
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._random = random.Random(f"{role} {index}")
        self._server = stepback.connect(address, **CONNECTION)
        self._model = open_model(self._server, model)

    def run(self, stop):
        if self._role == "reader":
            while not stop.is_set():
                self._pull(self._random.choice(["train", "eval"]))
            return
        with self._model.join(client_id(self._index)) as worker:
            worker.pull()
            for number in range(1, pushes.CAPACITY + 1):
                if stop.is_set():
                    break
                self._push(worker, number)

    def _push(self, worker, number):
        digits = -pushes.change(0, self._index, number, self._clients, 1)["digits"]
        began = time.monotonic()
        result = worker.push_gradient({name: digits for name in TENSORS})
        self._note("push", began, result.version, client=self._index, number=number)
        time.sleep(self._random.uniform(0, 0.03))

    def _pull(self, view):
        began = time.monotonic()
        weights = self._model.pull(view=view)
        self._note("pull", began, weights.version, view=view, tensors=seen(weights))
        time.sleep(self._random.uniform(0, 0.02))

    def _note(self, kind, began, version, **facts):
        event = {"kind": kind, "who": f"{self._role}-{self._index}", "begin": began, "end": time.monotonic(),
                 "version": [version.term, version.counter], **facts}
        os.write(self._file, json.dumps(event).encode() + b"\n")


def seen(weights):
    """Per tensor and client, how many pushes are in, and whether they are the first so many, each once."""
    return {name: [prefix(row) for row in pushes.counts(weights[name])] for name in TENSORS}


def prefix(row):
    count = int(row.sum())
    return [count, bool((row[:count] == 1).all())]


def main():
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    Witness(*sys.argv[1:]).run(stop)


if __name__ == "__main__":
    main()

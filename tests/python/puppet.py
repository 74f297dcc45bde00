"""A worker in a process of its own, moved by the test: commands in, one JSON answer each out.

puppet = Puppet()
puppet.call("join", address=..., model="m", worker_id="w0")
puppet.begin("step", change={"w": [...]})   # waits for its round
puppet.result()
"""

import json
import queue
import struct
import subprocess
import sys
import threading

TIMEOUT = 60.0


class Puppet:
    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answers = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def begin(self, command, **arguments):
        self._process.stdin.write(json.dumps({"command": command, "arguments": arguments}) + "\n")
        self._process.stdin.flush()

    def result(self):
        answer = json.loads(self._answers.get(timeout=TIMEOUT) or '{"error": "the puppet is dead"}')
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def call(self, command, **arguments):
        self.begin(command, **arguments)
        return self.result()

    @property
    def alive(self):
        return self._process.poll() is None

    def kill(self):
        """SIGKILL; gone when this returns."""
        self._process.kill()
        self._process.wait(timeout=TIMEOUT)
        self._reader.join(TIMEOUT)
        self._process.stdin.close()
        self._process.stdout.close()

    def _read(self):
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")


class Hand:
    """The commands, in the puppet's process."""

    def join(self, address, model, worker_id, **options):
        import stepback

        self.server = stepback.connect(address, give_up_after=TIMEOUT)
        self.worker = self.server.model(model).join(worker_id, **options)
        return self._keep(self.worker.pull())

    def step(self, change, **options):
        """Steps with the last weights plus `change`."""
        weights = {
            name: value + self._like(value, change.get(name, 0)) for name, value in self.weights.items()
        }
        return self._keep(self.worker.step(weights, **options))

    def begin_plain_push(self, stubs, address, model, worker_id, elements):
        """Opens a session without the SDK, sends a push's header and first chunk, and nothing more."""
        sys.path.insert(0, stubs)
        from plain_client import PlainClient

        self.plain = PlainClient(address)
        self.plain.open(model, worker_id)
        payload = struct.pack("<f", 1000.0) * elements
        self.plain.begin_push(self.plain.session.version, payload)

    def outcome(self):
        return self.worker.last_step.outcome

    def reconnects(self):
        return self.worker.statistics.reconnects

    def leave(self):
        self.worker.close()

    def _keep(self, weights):
        self.weights = dict(weights)
        return {name: value.tolist() for name, value in weights.items()}

    def _like(self, value, change):
        import numpy as np

        return np.asarray(change, value.dtype)


def main():
    hand = Hand()
    for line in sys.stdin:
        message = json.loads(line)
        try:
            answer = {"result": getattr(hand, message["command"])(**message["arguments"])}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

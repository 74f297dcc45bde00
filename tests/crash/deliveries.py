"""A client that delivers its pushes again, late, out of order, in part, and under old epochs; through the proxy.

Plain gRPC, a process of its own (reference.py says why). Input: one JSON object. Output: one: per client and push the
version that its first answer named, and how many deliveries of each kind there were.
"""

import collections
import json
import random
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
AHEAD = 5  # pushes that may run ahead of the next number (decisions/0010)
CALL_SECONDS = 3
USUAL = ("UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "INTERNAL", "UNKNOWN", "RESOURCE_EXHAUSTED")
DUPLICATE = 3  # PUSH_OUTCOME_DUPLICATE


def deliver(stubs, address, job, deliveries, seed):
    message = {"stubs": str(stubs), "address": address, "job": vars(job), "deliveries": deliveries, "seed": seed}
    done = subprocess.run(
        [sys.executable, __file__], input=json.dumps(message), capture_output=True, text=True, timeout=3600
    )
    if done.returncode != 0:
        raise RuntimeError(f"seed {seed}: {done.stderr[-3000:]}")
    return json.loads(done.stdout)


class Unreliable:
    """One client. `answers`: number -> (term, counter) of the first answer; every later answer must say the same."""

    def __init__(self, plain, job, index, seed):
        self.answers, self.kinds, self.failed = {}, collections.Counter(), 0
        self._client, self._job, self._index = plain, job, index
        self._random = random.Random(f"{seed} {index}")
        self._epochs, self._open, self._decided = [], [], 0

    def join(self):
        """A new session; the epochs of earlier ones are fenced from here on."""
        while True:
            try:
                self._client.open(self._job["name"], f"client-{self._index}")
                break
            except self._rpc_error() as error:
                self._expect(error, ())
        self._epochs.append(self._client.session.epoch)

    def act(self):
        """Some deliveries: of the push that is due, of several out of order, of one that is long decided."""
        kind = self._random.choices(
            ["next", "shuffled", "again", "fenced", "partial", "rejoin"], [6, 3, 6, 1, 2, 0.2]
        )[0]
        due = self._due()
        numbers = [due]
        if kind == "rejoin":
            self._settle(0)
            return self.join()
        if kind == "shuffled":
            numbers = list(range(due, due + 1 + self._random.randint(1, AHEAD)))
            self._random.shuffle(numbers)
        elif kind == "again":
            numbers = [self._random.randint(max(1, due - 12), due)]
        for number in numbers:
            self._deliver(kind, number)
        self._settle(self._random.randint(0, 4))

    def _due(self):
        """The first push without an answer."""
        while self._decided + 1 in self.answers:
            self._decided += 1
        return self._decided + 1

    def _deliver(self, kind, number):
        epoch = self._random.choice(self._epochs[:-1] or [0]) if kind == "fenced" else self._epochs[-1]
        self.kinds[kind] += 1
        self._open.append((kind, number, self._send(number, epoch, partial=kind == "partial")))

    def finish(self, pushes):
        """Every push up to `pushes` is decided when this returns."""
        self._settle(0)
        while self._due() <= pushes:
            self._deliver("next", self._due())
            self._settle(0)

    def _send(self, number, epoch, partial):
        from pushes import gradient_payload, samples

        job = self._job
        payload = gradient_payload(job["seed"], self._index, number, job["clients"], 1)
        header = self._client.header(self._client.session.version, len(payload), samples=samples(number))
        header.kind, header.sequence, header.epoch = 1, number, epoch
        push = self._client.training_pb.PushRequest
        messages = [push(header=header)]
        size = self._random.choice([512, 1 << 20])
        messages += [push(chunk=chunk) for chunk in self._client.chunks(payload, size)]
        return self._client.training.Push.future(
            iter(messages[:-1] if partial else messages), timeout=CALL_SECONDS
        )

    def _settle(self, leave):
        """Waits for all but the newest `leave` deliveries."""
        while len(self._open) > leave:
            kind, number, call = self._open.pop(0)
            try:
                answer = call.result()
            except self._rpc_error() as error:
                self._refused(kind, error)
            else:
                self._answered(kind, number, answer)

    def _answered(self, kind, number, answer):
        assert kind != "fenced", f"push {number} was taken under a fenced epoch: {answer}"
        assert kind != "partial" or answer.outcome == DUPLICATE, f"part of push {number} was taken: {answer}"
        assert answer.sequence == number, f"push {number} was answered as {answer.sequence}"
        version = (answer.version.term, answer.version.counter)
        if "remembered" in answer.reason:
            return
        known = self.answers.setdefault(number, version)
        assert known == version, f"push {number}: version {known}, now {version}: {answer}"

    def _refused(self, kind, error):
        self.failed += 1
        refusals = {"fenced": ("FAILED_PRECONDITION", "NOT_FOUND"), "partial": ("INVALID_ARGUMENT",)}
        self._expect(error, refusals.get(kind, ()))

    def _expect(self, error, more):
        """What a broken connection, a repeated upload and a push that waits for its turn too long may say."""
        assert error.code().name in (*USUAL, *more), error

    def _rpc_error(self):
        import grpc

        return grpc.RpcError


def main():
    message = json.load(sys.stdin)
    sys.path[:0] = [message["stubs"], str(HERE.parent / "python")]
    import plain_client

    job, seed = message["job"], message["seed"]
    clients = [
        Unreliable(plain_client.PlainClient(message["address"]), job, index, seed) for index in range(job["clients"])
    ]
    for client in clients:
        client.join()
    turn = random.Random(seed)
    while sum(client.kinds.total() for client in clients) < message["deliveries"]:
        turn.choice(clients).act()
    pushes = max(max(client.answers, default=0) for client in clients)
    for client in clients:
        client.finish(pushes)
    kinds = sum((client.kinds for client in clients), collections.Counter())
    answers, failed = [client.answers for client in clients], sum(client.failed for client in clients)
    print(json.dumps({"answers": answers, "kinds": kinds, "failed": failed}))


if __name__ == "__main__":
    main()

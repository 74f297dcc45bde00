"""The models that a leg trains: two at once, one whose rounds do not wait and one whose rounds wait for everyone.

What only the order of commits can explain is in both: optimizer state, periods that count steps, an average.
"""

import dataclasses

import pushes

import stepback

NO_BOUND = 1 << 31  # staleness: no push is ever too old


@dataclasses.dataclass(frozen=True)
class Job:
    """One model of a leg."""

    name: str
    mode: str  # gradient, delta
    waits: bool  # for every worker
    clients: int
    seed: int
    durability: str
    snapshot_seconds: float

    @property
    def share(self):
        return self.clients if self.waits else 1

    @property
    def views(self):
        return ["train", "eval", "average:ema"]

    def definition(self):
        """Arguments of `create_model` but name and weights."""
        waiting = stepback.sync(self.clients, reduction="ordered", max_staleness=NO_BOUND)
        common = {
            "mode": self.mode,
            "rounds": waiting if self.waits else stepback.asynchronous(max_staleness=NO_BOUND),
            "averages": {"ema": stepback.ema(0.75)},
            "durability": self.durability,
            "snapshot_interval_seconds": self.snapshot_seconds,
        }
        return {**common, **(self._gradient() if self.mode == "gradient" else {"outer": stepback.average()})}

    def _gradient(self):
        """Pullbacks every third step: momentum and the count of steps show in the weights."""
        return {
            "inner": stepback.adam(lr=0.01) if self.seed % 2 else stepback.sgd(lr=0.1, momentum=0.9),
            "groups": [stepback.group("digits", ["digits"], inner=stepback.sgd(lr=1.0))],
            "outer": stepback.lookahead(alpha=1.0),
            "sync_period": 3,
            "inner_state": "reset",
        }

    def create(self, server):
        return server.create_model(self.name, pushes.zeros(self.clients), **self.definition())


def client_id(index):
    return f"client-{index}"

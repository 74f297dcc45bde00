"""Runs through a server: every row of a tensor is an independent replica, as SGD goes element by element."""

from __future__ import annotations

import contextlib
import uuid
import zlib
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterator, Mapping, Optional

import numpy as np
from theory import Array, Problem

import stepback

SEED = 20190719
ROWS = 4096


class Replicas:
    """A gradient-mode model and its only worker, which knows the problem and sends a (theta - c)."""

    def __init__(self, model: stepback.Model, problem: Problem, noise: Any) -> None:
        self._model = model
        self._curvature = problem.curvature.astype(np.float32)
        self._deviation = np.sqrt(problem.variance).astype(np.float32)
        self._noise = noise
        self._worker = model.join("client")
        self.weights: Dict[str, Array] = dict(self._worker.pull(view="train"))
        self.step = 0

    @property
    def fast(self) -> Array:
        """[R, d], of a model with one tensor."""
        return self.weights["theta"]

    @property
    def slow(self) -> Array:
        return self.view("eval")["theta"]

    def view(self, name: str) -> Mapping[str, Array]:
        return self._model.pull(view=name)

    def advance(self, step: int) -> None:
        """Until ``step`` inner steps are done."""
        while self.step < step:
            gradients = {name: self._gradient(theta) for name, theta in self.weights.items()}
            self._worker.step_gradient(gradients, into=self.weights, view="train")
            self.step += 1

    def _gradient(self, theta: Array) -> Array:
        target = self._noise.standard_normal(theta.shape, dtype=np.float32)
        target *= self._deviation
        return self._curvature * (theta - target)

    def close(self) -> None:
        self._worker.close()


@dataclass
class Laboratory:
    """A server, how much to ask of it, and ``tick`` to be called as the work goes on."""

    server: stepback.Server
    effort: str = "default"  # or "quick", "full"
    tick: Callable[[], None] = lambda: None
    _prefix: str = field(default_factory=lambda: f"nqm-{uuid.uuid4().hex[:8]}")

    def pick(self, quick: Any, default: Any, full: Any) -> Any:
        return {"quick": quick, "default": default, "full": full}[self.effort]

    def noise(self, name: str) -> Any:
        """A generator of the run's own: the same in every run of the program."""
        return np.random.default_rng([SEED, zlib.crc32(name.encode())])

    @contextlib.contextmanager
    def model(self, name: str, weights: Mapping[str, Array], **definition: Any) -> Iterator[stepback.Model]:
        """Kept in memory only, and gone afterwards."""
        safe = "".join(c if c.isalnum() else "-" for c in name.lower())
        model = self.server.create_model(
            f"{self._prefix}-{safe}", weights, durability="volatile", **definition
        )
        try:
            yield model
        finally:
            model.delete()
            self.tick()

    @contextlib.contextmanager
    def replicas(
        self,
        name: str,
        problem: Problem,
        rate: float,
        *,
        alpha: float = 1.0,
        period: int = 5,
        momentum: float = 0.0,
        rows: int = ROWS,
        start: Optional[Mapping[str, Array]] = None,
        **definition: Any,
    ) -> Iterator[Replicas]:
        """SGD or heavy ball with Lookahead around it; without slow weights at alpha 1."""
        weights = start or {"theta": np.full((rows, len(problem.curvature)), problem.start, np.float32)}
        definition.setdefault("outer", stepback.lookahead(alpha) if alpha < 1 else stepback.no_rule())
        if definition["outer"] != stepback.no_rule():
            definition["sync_period"] = period
        inner = stepback.sgd(lr=rate, momentum=momentum)
        rounds = stepback.asynchronous()
        with self.model(name, weights, mode="gradient", inner=inner, rounds=rounds, **definition) as model:
            replicas = Replicas(model, problem, self.noise(name))
            try:
                yield replicas
            finally:
                replicas.close()

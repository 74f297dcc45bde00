"""One training run: what it is told, and what it measured."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List

from model import CONTEXT

WORKERS = 4
BETAS = (0.9, 0.99)
WEIGHT_DECAY = 0.01


@dataclass(frozen=True)
class Trial:
    """``sync_every`` 1 is synchronous training: gradients up, weights down, AdamW on the server. Above, it is
    DiLoCo: AdamW in every worker, Nesterov momentum on the server."""

    sync_every: int
    rate: float  # AdamW's, after the warm-up
    steps: int
    seed: int
    batch: int  # windows of a worker per step
    outer_rate: float = 0.0
    outer_momentum: float = 0.0
    push_codec: str = "f32"
    pull_codec: str = "f32"
    evaluate_every: int = 100

    @property
    def diloco(self) -> bool:
        return self.sync_every > 1

    @property
    def warmup(self) -> int:
        return max(1, self.steps // 20)

    @property
    def tokens_per_step(self) -> int:
        """Bytes of text that all workers read in one step."""
        return WORKERS * self.batch * CONTEXT

    @property
    def name(self) -> str:
        """The model's name on the server."""
        rates = f"{self.rate:g}-{self.outer_rate:g}-{self.outer_momentum:g}"
        return f"byte-lm-{self.sync_every}-{rates}-{self.steps}-{self.seed}"

    def factor(self, step: int) -> float:
        """Of the learning rate at a step from 0: linear warm-up, then a cosine to 0; the server's schedule
        "cosine" has the same closed form."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / (self.steps - self.warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def __str__(self) -> str:
        if not self.diloco:
            return f"synchronous, rate {self.rate:g}, seed {self.seed}"
        outer = f"outer {self.outer_rate:g}/{self.outer_momentum:g}"
        return f"DiLoCo H={self.sync_every}, rate {self.rate:g}, {outer}, seed {self.seed}"


@dataclass(frozen=True)
class Point:
    """Where a run was after ``step`` steps. Bytes and seconds are of one worker (the mean of all)."""

    step: int
    loss: float  # validation, nats per byte
    bytes_sent: float
    bytes_received: float
    compute_seconds: float  # the client's processor time for training, coding and sending; no waiting


@dataclass
class Run:
    trial: Trial
    curve: List[Point] = field(default_factory=list)

    @property
    def loss(self) -> float:
        return self.curve[-1].loss

    @property
    def bytes(self) -> float:
        """Of one worker, both directions."""
        return self.curve[-1].bytes_sent + self.curve[-1].bytes_received

    def to_json(self) -> Dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(given: Dict[str, Any]) -> Run:
        return Run(Trial(**given["trial"]), [Point(**point) for point in given["curve"]])

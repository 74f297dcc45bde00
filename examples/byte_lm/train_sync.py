"""Synchronous data-parallel training: every step all gradients go up and the new weights come down; the
server averages them and runs AdamW."""

from __future__ import annotations

from typing import Any, Dict, Iterator

from model import network
from team import Team
from torch import Tensor
from trial import BETAS, WEIGHT_DECAY, WORKERS, Trial

import stepback


def create(server: stepback.Server, trial: Trial) -> stepback.Model:
    inner = stepback.adamw(trial.rate, *BETAS, weight_decay=WEIGHT_DECAY)
    curve = {"steps": trial.steps - trial.warmup, "warmup": trial.warmup}
    return server.create_model(
        trial.name,
        network(trial.seed),
        mode="gradient",
        inner=inner.scheduled("lr", "cosine", **curve),
        outer=stepback.no_rule(),
        rounds=stepback.sync(quorum=WORKERS, reduction="ordered"),
        durability="volatile",
    )


def options(trial: Trial) -> Dict[str, Any]:
    return {"push_codec": trial.push_codec, "pull_codec": trial.pull_codec}


def train(team: Team, trial: Trial, data: Iterator[Tensor]) -> Iterator[int]:
    """Trains, and says after every step which it was."""
    for step, windows in zip(range(1, trial.steps + 1), data):
        with team.clock:
            team.backward(windows)
            team.exchange_gradients()
        yield step

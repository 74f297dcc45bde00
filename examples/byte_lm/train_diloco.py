"""DiLoCo: AdamW in the workers; every H steps base - theta goes up in 4 bits (what they lost is added to the
next push) and the new slow weights come down in 8; the server runs Nesterov momentum."""

from __future__ import annotations

from typing import Any, Dict, Iterator

import torch
from model import network
from team import Team
from torch import Tensor
from trial import BETAS, WEIGHT_DECAY, WORKERS, Trial

import stepback


def create(server: stepback.Server, trial: Trial) -> stepback.Model:
    return server.create_model(
        trial.name,
        network(trial.seed),
        outer=stepback.diloco(trial.outer_rate, trial.outer_momentum),
        rounds=stepback.sync(quorum=WORKERS, reduction="ordered"),
        sync_period=trial.sync_every,
        durability="volatile",
    )


def options(trial: Trial) -> Dict[str, Any]:
    return {"push_codec": trial.push_codec, "pull_codec": trial.pull_codec, "error_feedback": True}


def train(team: Team, trial: Trial, data: Iterator[Tensor]) -> Iterator[int]:
    """Trains, and says after every step which it was. AdamW goes element by element: on stacked weights it is
    one AdamW per worker."""
    optimizer = torch.optim.AdamW(
        list(team.weights.values()), lr=trial.rate, betas=BETAS, weight_decay=WEIGHT_DECAY, foreach=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, trial.factor)
    for step, windows in zip(range(1, trial.steps + 1), data):
        with team.clock:
            team.backward(windows)
            optimizer.step()
            schedule.step()
            if step % trial.sync_every == 0:
                team.exchange_weights(trial.sync_every)
        yield step

"""A trial, run from the beginning through a server."""

from __future__ import annotations

import train_diloco
import train_sync
from data import Corpus
from model import CONTEXT
from team import Team
from torch import Tensor
from trial import WORKERS, Run, Trial

import stepback


def run(server: stepback.Server, corpus: Corpus, windows: Tensor, trial: Trial) -> Run:
    """Trains a new model and removes it. ``windows`` [workers, ..., CONTEXT + 1] are to validate on."""
    method = train_diloco if trial.diloco else train_sync
    model = method.create(server, trial)
    data = corpus.batches(WORKERS, trial.batch, CONTEXT, trial.seed)
    done = Run(trial)
    try:
        with Team(model, **method.options(trial)) as team:
            for step in method.train(team, trial, data):
                if step % trial.evaluate_every == 0:
                    done.curve.append(team.point(step, windows))
    finally:
        model.delete()
    return done

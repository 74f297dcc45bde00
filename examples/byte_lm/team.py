"""The workers: four sessions and four replicas in one process."""

from __future__ import annotations

from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any, Callable

import torch
from clock import Clock
from model import Weights, losses, network
from torch import Tensor
from trial import WORKERS, Point

import stepback


class Team:
    """Every worker has a session of its own and its slice of the stacked weights. Their calls wait for each
    other at the server, so each runs in a thread of its own. Options are those of ``Model.join``.

    Leaving the ``with`` block leaves the model."""

    def __init__(self, model: stepback.Model, **options: Any) -> None:
        self.clock = Clock()
        self.weights: Weights = {
            name: torch.zeros(WORKERS, *weight.shape, requires_grad=True)
            for name, weight in network(0).items()
        }
        self._own = [{name: w.detach()[i] for name, w in self.weights.items()} for i in range(WORKERS)]
        self._sessions = [model.join(f"worker-{index}", **options) for index in range(WORKERS)]
        self._threads = ThreadPoolExecutor(WORKERS)
        self._all(lambda index: self._sessions[index].pull(into=self._own[index]))

    def backward(self, windows: Tensor) -> None:
        """Every worker's gradients at its own weights, of its own windows [workers, batch, ...]."""
        for weight in self.weights.values():
            weight.grad = None
        losses(self.weights, windows).sum().backward()

    def exchange_gradients(self) -> None:
        """Gradients go up, the new weights come down."""

        def step(index: int) -> None:
            gradients = {name: weight.grad[index] for name, weight in self.weights.items()}
            self._sessions[index].step_gradient(gradients, into=self._own[index])

        self._all(step)

    def exchange_weights(self, local_steps: int) -> None:
        """What training made of the weights goes up, the new slow weights come down."""

        def step(index: int) -> None:
            own = self._own[index]
            self._sessions[index].step(own, into=own, local_steps=local_steps)

        self._all(step)

    def point(self, step: int, windows: Tensor) -> Point:
        """The validation loss of weights that all workers have, each on its part of ``windows``."""
        with torch.no_grad():
            loss = losses(self.weights, windows).mean().item()
        statistics = [session.statistics for session in self._sessions]
        return Point(
            step=step,
            loss=loss,
            bytes_sent=sum(one.wire_bytes_sent for one in statistics) / WORKERS,
            bytes_received=sum(one.wire_bytes_received for one in statistics) / WORKERS,
            compute_seconds=self.clock.seconds / WORKERS,
        )

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()
        for session in self._sessions:
            session.close()

    def _all(self, call: Callable[[int], object]) -> None:
        calls = [self._threads.submit(call, index) for index in range(WORKERS)]
        done, waiting = wait(calls, return_when=FIRST_EXCEPTION)
        if waiting:  # for one that failed
            for session in self._sessions:
                session.cancel()
        for one in done:
            one.result()

"""Streaming DiLoCo: when a worker sends which fragment, and what it makes of the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, MutableMapping, Union

import numpy as np

from stepback._arrays import is_torch
from stepback._weights import Weights
from stepback._worker import Worker

WeightsOrCall = Union[MutableMapping[str, Any], Callable[[], MutableMapping[str, Any]]]


@dataclass
class _Sent:
    take_at: int  # local step
    mixing: float


class StreamingSync:
    """Drives the fragments of one worker; call ``step`` after every local step.

    Fragment p is pushed after the local steps t with t mod H = offset(p), and its result is taken
    ``overlap_steps`` later: theta = mixing x theta + (1 - mixing) x received (algorithms.md 5.3). H, offsets,
    overlap and mixing are the server's, and may change while it runs. Averaged and carried tensors are taken
    as they come.

    ::

        weights = worker.pull()
        streaming = stepback.StreamingSync(worker)
        while not worker.finished:
            train_one_step(weights)
            streaming.step(weights)  # in place
    """

    def __init__(self, worker: Worker, *, samples_per_step: int = 1) -> None:
        if not worker.fragments:
            raise ValueError(f"model '{worker.model}' has no fragments")
        period = worker.settings.sync_period
        if period < 1:
            raise ValueError(f"model '{worker.model}' has sync_period {period}, expected at least 1")
        self.worker = worker
        self.steps = 0
        self.resyncs = 0
        self._samples_per_step = samples_per_step
        self._trained = {info.name for info in worker.tensors if info.role == "trained"}
        self._due = [fragment.offset or period for fragment in worker.fragments]
        self._last = [0] * len(worker.fragments)
        self._sent: Dict[int, _Sent] = {}

    def step(self, weights: WeightsOrCall) -> List[int]:
        """One local step is done: takes what is due into ``weights`` (arrays or tensors by name, in place), then
        sends what is due. Returns the fragments that were taken.

        ``weights`` may be a function that gives them, which is called only when something is due.
        """
        self.steps += 1
        taken = [index for index, sent in self._sent.items() if sent.take_at <= self.steps]
        due = [index for index, due in enumerate(self._due) if due <= self.steps]
        if not taken and not due:
            return []
        held = weights() if callable(weights) else weights
        for index in taken:
            self._take(index, held)
        for index in due:
            if index in self._sent:  # H has become shorter in between
                self._take(index, held)
                taken.append(index)
            self._send(index, held)
            if self._sent[index].take_at <= self.steps:
                self._take(index, held)
                taken.append(index)
        return taken

    def finish(self, weights: MutableMapping[str, Any]) -> List[int]:
        """Takes everything that is under way."""
        taken = list(self._sent)
        for index in taken:
            self._take(index, weights)
        return taken

    def sync(self, weights: MutableMapping[str, Any]) -> None:
        """Syncs every fragment now, without overlap or mixing: before an evaluation, or at the end. All workers
        of a SYNC model do it at the same point."""
        self.finish(weights)
        for index in range(len(self._due)):
            self._send(index, weights)
            self._sent[index].mixing = 0.0
            self._take(index, weights)

    def _send(self, index: int, weights: MutableMapping[str, Any]) -> None:
        settings = self.worker.settings
        local_steps = self.steps - self._last[index]
        self.worker.begin_fragment(
            index, weights, local_steps=local_steps, samples=local_steps * self._samples_per_step
        )
        self._sent[index] = _Sent(self.steps + settings.overlap_steps, settings.mixing)
        self._last[index] = self.steps
        self._due[index] = self.steps + max(1, settings.sync_period)

    def _take(self, index: int, weights: MutableMapping[str, Any]) -> None:
        sent = self._sent.pop(index)
        received = self.worker.finish_fragment(index)
        # A resynced push is not in what came back, and neither is what this worker trained.
        resynced = received.step is not None and received.step.outcome == "resynced"
        self.resyncs += resynced
        self._mix(received, weights, 0.0 if resynced else sent.mixing)
        if received.step is not None and received.step.push.local_steps:
            self._due[index] = self._last[index] + max(1, received.step.push.local_steps)

    def _mix(self, received: Weights, weights: MutableMapping[str, Any], mixing: float) -> None:
        for name, value in received.items():
            mix_(weights[name], value, mixing if name in self._trained else 0.0)


def mix_(local: Any, received: Any, alpha: float) -> None:
    """local <- alpha x local + (1 - alpha) x received, in place; alpha 0 is a copy.

    >>> local = np.array([1.0, 2.0], np.float32)
    >>> mix_(local, np.array([3.0, 2.0], np.float32), 0.25); local
    array([2.5, 2. ], dtype=float32)
    """
    if is_torch(local):
        import torch

        with torch.no_grad():
            value = received if is_torch(received) else torch.from_numpy(np.asarray(received))
            value = value.to(local.device, local.dtype)
            local.copy_(value if alpha == 0 else alpha * local + (1 - alpha) * value)
    else:
        local[...] = received if alpha == 0 else alpha * local + (1 - alpha) * received

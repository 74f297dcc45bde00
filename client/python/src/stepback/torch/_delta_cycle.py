"""Lookahead with a server, mode "delta": the inner optimizer stays here, a cycle is one step of the model."""

from __future__ import annotations

from typing import Any, Dict, Mapping

import torch
from torch import Tensor

from stepback.torch._cycle import Closure, Cycle
from stepback.torch._merge import widened
from stepback.torch._server_cycle import Seat, ServerCycle


class DeltaCycle(ServerCycle):
    """The server holds phi and averages the workers; ``slow`` is the copy that the last sync brought."""

    def __init__(self, local: Cycle, seat: Seat) -> None:
        super().__init__(local, seat)
        self._restored = False
        seat.worker.pull(into=self._slow_by_name())
        self.slow.to_fast()
        self.follow(seat.worker.settings)

    def step(self, closure: Closure) -> Any:
        if self._restored:
            self._reconcile()
        return super().step(closure)

    def sync(self) -> None:
        fast = self.by_name({parameter: widened(slow, parameter) for parameter, slow in self.slow.items()})
        self.seat.worker.step(fast, into=self._slow_by_name(), local_steps=self.phase)
        self.slow.to_fast()
        self.follow(self.seat.worker.settings)
        self.end_cycle()

    def state(self) -> Dict[str, Any]:
        version = self.seat.worker.version
        server = {"run": self.seat.model.name, "version": (version.term, version.counter)}
        return {**super().state(), "server": server}

    def load(self, state: Mapping[str, Any]) -> None:
        super().load(state)
        self._restored = True

    def _slow_by_name(self) -> Dict[str, Tensor]:
        return self.by_name(dict(self.slow.items()))

    def _reconcile(self) -> None:
        """After load_state_dict: goes on in the middle of the cycle when the server still has the slow
        weights that the state was saved with, and from the server's when the run has moved on."""
        self._restored = False
        saved = {parameter: slow.clone() for parameter, slow in self.slow.items()}
        self.seat.worker.pull(into=self._slow_by_name())
        if not all(torch.equal(saved[parameter], slow) for parameter, slow in self.slow.items()):
            self.slow.to_fast()
            self.phase = 0

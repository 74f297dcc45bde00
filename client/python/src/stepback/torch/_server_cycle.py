"""What the cycles with a server share: the place on the server, and names instead of positions."""

from __future__ import annotations

from typing import Dict, Mapping, Optional

import torch
from torch import Tensor

from stepback._model import Model
from stepback._server import Server
from stepback._types import Settings
from stepback._worker import Worker
from stepback.torch._cycle import Cycle
from stepback.torch._slow import parameters_of


class Seat:
    """A worker's place in a model, and the connection where it is the adapter's own."""

    def __init__(
        self, owned: Optional[Server], model: Model, worker: Worker, names: Mapping[Tensor, str]
    ) -> None:
        self._owned = owned
        self.model = model
        self.worker = worker
        self.names = dict(names)

    def close(self) -> None:
        self.worker.close()
        if self._owned is not None:
            self._owned.close()


class ServerCycle(Cycle):
    """A cycle whose slow weights are the server's. Steps and alpha follow its settings."""

    def __init__(self, local: Cycle, seat: Seat) -> None:
        super().__init__(local.inner, local.steps, local.alpha, local.policy)
        self.seat = seat

    def cover(self) -> None:
        if len(parameters_of(self.inner)) != len(self.seat.names):
            raise TypeError(
                f"parameters were added, but model '{self.seat.model.name}' has the "
                f"{len(self.seat.names)} that it was made of"
            )

    def close(self) -> None:
        self.seat.close()

    def follow(self, settings: Settings) -> None:
        if settings.sync_period:
            self.steps = settings.sync_period
        self.alpha = settings.outer.values.get("alpha", self.alpha)

    def by_name(self, tensors: Mapping[Tensor, Tensor]) -> Dict[str, Tensor]:
        return {self.seat.names[parameter]: tensor for parameter, tensor in tensors.items()}

    @torch.no_grad()
    def receive(self, tensors: Mapping[str, Tensor]) -> None:
        """Names -> parameters."""
        for parameter, name in self.seat.names.items():
            parameter.copy_(tensors[name])

"""The slow weights phi of every parameter, on the parameter's device."""

from __future__ import annotations

from typing import Dict, Iterable, Iterator, List, Tuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from stepback.torch._merge import merge_, slow_copy, slow_dtype, widened


def parameters_of(optimizer: Optimizer) -> List[Tensor]:
    """Every parameter once, in the order in which ``state_dict`` numbers them."""
    return list(dict.fromkeys(p for group in optimizer.param_groups for p in group["params"]))


class SlowWeights:
    """phi by parameter. phi starts as a copy of theta, at construction and never lazily."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self._slow: Dict[Tensor, Tensor] = {}
        self.cover(parameters)

    def __len__(self) -> int:
        return len(self._slow)

    def __getitem__(self, parameter: Tensor) -> Tensor:
        """The slow weights of ``parameter``; they follow it when it has moved to another device."""
        slow = self._slow[parameter]
        if slow.device != parameter.device:
            slow = self._slow[parameter] = slow.to(parameter.device)
        return slow

    def items(self) -> Iterator[Tuple[Tensor, Tensor]]:
        return ((parameter, self[parameter]) for parameter in list(self._slow))

    def cover(self, parameters: Iterable[Tensor]) -> None:
        """Copies parameters that are new here (add_param_group)."""
        for parameter in parameters:
            if parameter not in self._slow:
                self._slow[parameter] = slow_copy(parameter)

    def clear(self) -> None:
        self._slow.clear()

    def set(self, parameter: Tensor, value: Tensor) -> None:
        self._slow[parameter] = value.detach().to(parameter.device, slow_dtype(parameter), copy=True)

    @torch.no_grad()
    def merge(self, alpha: float) -> None:
        """phi <- lerp(phi, theta, alpha), then theta <- phi, for every parameter, gradient or not."""
        for parameter, slow in self.items():
            parameter.copy_(merge_(slow, widened(slow, parameter), alpha))

    @torch.no_grad()
    def to_fast(self) -> None:
        """theta <- phi."""
        for parameter, slow in self.items():
            parameter.copy_(slow)

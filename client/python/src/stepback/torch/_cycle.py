"""k steps forward, 1 step back: the cycle of Lookahead, in process."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Optional

import torch
from torch import Tensor
from torch.optim import Optimizer

from stepback.torch._inner_state import Pullback, apply_policy
from stepback.torch._slow import SlowWeights, parameters_of

Closure = Optional[Callable[[], Any]]


class Cycle:
    """Counts the inner steps and merges after every ``steps`` of them.

    The subclasses hand the merge to a server (``DeltaCycle``) or the inner step as well (``GradientCycle``).
    """

    def __init__(self, inner: Optimizer, steps: int, alpha: float, policy: str) -> None:
        self.inner = inner
        self.steps = steps
        self.alpha = alpha
        self.policy = policy
        self.phase = 0  # inner steps since the last sync
        self.slow = SlowWeights(parameters_of(inner))
        self.pullback = Pullback() if policy == "pullback" else None

    def cover(self) -> None:
        """Takes in parameters that were added since."""
        self.slow.cover(parameters_of(self.inner))

    def step(self, closure: Closure) -> Any:
        self.cover()
        loss = self.inner.step() if closure is None else self.inner.step(closure)
        self.phase += 1
        if self.phase >= self.steps:
            self.sync()
        return loss

    def sync(self) -> None:
        self.slow.merge(self.alpha)
        self.end_cycle()

    def end_cycle(self) -> None:
        self.phase = 0
        apply_policy(self.policy, self.inner, self.alpha, self.pullback)

    def slow_now(self) -> Dict[Tensor, Tensor]:
        """The slow weights to evaluate."""
        return dict(self.slow.items())

    def close(self) -> None:
        """Leaves the server, where there is one."""

    def state(self) -> Dict[str, Any]:
        """Everything that the inner optimizer's state_dict does not have; keyed like it, by position."""
        slow = {i: self.slow[p] for i, p in enumerate(parameters_of(self.inner))}
        return {"phase": self.phase, "slow": slow, "cached_momentum": self._cached_momentum()}

    def check(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError unless ``state`` fits these parameters; changes nothing."""
        parameters = parameters_of(self.inner)
        slow = state["slow"]
        if len(slow) != len(parameters):
            raise ValueError(f"lookahead state has {len(slow)} slow weights, expected {len(parameters)}")
        for i, parameter in enumerate(parameters):
            if slow[i].shape != parameter.shape:
                raise ValueError(
                    f"slow weights {i} have shape {tuple(slow[i].shape)}, expected {tuple(parameter.shape)}"
                )

    def load(self, state: Mapping[str, Any]) -> None:
        parameters = parameters_of(self.inner)
        for i, parameter in enumerate(parameters):
            self.slow.set(parameter, state["slow"][i])
        if self.pullback is not None:
            self.pullback.cached = {
                parameters[i]: {name: m.to(parameters[i].device, copy=True) for name, m in cached.items()}
                for i, cached in state["cached_momentum"].items()
            }
        self.phase = int(state["phase"])

    def _cached_momentum(self) -> Dict[int, Dict[str, Tensor]]:
        if self.pullback is None:
            return {}
        index = {p: i for i, p in enumerate(parameters_of(self.inner))}
        return {index[p]: dict(cached) for p, cached in self.pullback.cached.items() if p in index}


@torch.no_grad()
def swap_in(weights: Mapping[Tensor, Tensor]) -> Dict[Tensor, Tensor]:
    """Writes ``weights`` into their parameters and returns what was there."""
    before = {parameter: parameter.detach().clone() for parameter in weights}
    for parameter, value in weights.items():
        parameter.copy_(value)
    return before

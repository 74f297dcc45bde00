"""What happens to the inner optimizer's own state at a sync: kept, reset, or pulled back."""

from __future__ import annotations

import inspect
from typing import Any, Dict, Optional

import torch
from torch import Tensor
from torch.optim import Optimizer

from stepback.torch._merge import merge_

POLICIES = ("none", "reset", "pullback")

#: State entries that are a first moment: SGD's buffer, the m of the Adam family.
FIRST_MOMENTS = ("momentum_buffer", "exp_avg")


class Pullback:
    """momentum <- alpha x momentum + (1 - alpha) x momentum after the previous sync, which starts at zero.

    The remembered momentum is a copy, never the optimizer's own tensor: torch updates that one in place, and
    an alias would turn the interpolation into a plain factor from the second sync on.
    """

    def __init__(self) -> None:
        self.cached: Dict[Tensor, Dict[str, Tensor]] = {}

    def apply(self, inner: Optimizer, alpha: float) -> None:
        for parameter, state in inner.state.items():
            for name in FIRST_MOMENTS:
                momentum = state.get(name)
                if isinstance(momentum, Tensor):
                    momentum.copy_(merge_(self._remembered(parameter, name, momentum), momentum, alpha))

    def _remembered(self, parameter: Tensor, name: str, momentum: Tensor) -> Tensor:
        cached = self.cached.setdefault(parameter, {})
        before = cached.get(name)
        cached[name] = torch.zeros_like(momentum) if before is None else before.to(momentum.device)
        return cached[name]


def reset(inner: Optimizer) -> None:
    """Back to the state of a new optimizer: moments and step counts together."""
    fresh = _state_at_construction(inner)
    inner.state.clear()
    inner.state.update(fresh)


def _state_at_construction(inner: Optimizer) -> Dict[Any, Any]:
    """Nothing where the first step fills the state; the accumulators of optimizers that do it at once."""
    groups = [dict(group) for group in inner.param_groups]
    accepted = inspect.signature(type(inner)).parameters
    defaults = {name: value for name, value in inner.defaults.items() if name in accepted}
    try:
        return dict(type(inner)(groups, **defaults).state)
    except TypeError:  # a constructor of its own shape: such optimizers fill their state lazily in practice
        return {}


def apply_policy(policy: str, inner: Optimizer, alpha: float, pullback: Optional[Pullback]) -> None:
    """``none`` keeps everything, ``reset`` starts over, ``pullback`` interpolates the first moments."""
    if policy == "reset":
        reset(inner)
    elif policy == "pullback" and pullback is not None:
        pullback.apply(inner, alpha)

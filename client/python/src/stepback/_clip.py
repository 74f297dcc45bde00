"""Bounds of what a round gives before any rule sees it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Clip:
    """Use ``clip()``. 0 is no bound."""

    value: float = 0.0
    tensor_norm: float = 0.0
    global_norm: float = 0.0
    contribution_norm: float = 0.0


def clip(
    value: float = 0.0,
    *,
    tensor_norm: float = 0.0,
    global_norm: float = 0.0,
    contribution_norm: float = 0.0,
) -> Clip:
    """Clips the mean gradient (gradient mode) or the mean delta, in this order; 0 is no bound.

    Args:
        value: elements to [-value, value], as ``torch.nn.utils.clip_grad_value_``.
        tensor_norm: L2 norm of each tensor.
        global_norm: L2 norm of all trained tensors together, as ``torch.nn.utils.clip_grad_norm_``.
        contribution_norm: the same of every single push, before it enters the mean.

    >>> clip(global_norm=1.0)
    Clip(value=0.0, tensor_norm=0.0, global_norm=1.0, contribution_norm=0.0)
    """
    return Clip(float(value), float(tensor_norm), float(global_norm), float(contribution_norm))

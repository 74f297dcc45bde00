"""phi <- lerp(phi, theta, alpha): the one line of arithmetic that the adapter does itself."""

from __future__ import annotations

import torch
from torch import Tensor


def merge_(slow: Tensor, fast: Tensor, alpha: float) -> Tensor:
    """Moves ``slow`` a share ``alpha`` towards ``fast``, in place.

    ``alpha = 1`` is a copy: the arithmetic would turn 0 x inf into NaN.

    >>> merge_(torch.tensor([0.0, 4.0]), torch.tensor([1.0, 2.0]), 0.5)
    tensor([0.5000, 3.0000])
    """
    if alpha == 1:
        return slow.copy_(fast)
    return slow.lerp_(fast, alpha)


def slow_dtype(fast: Tensor) -> torch.dtype:
    """Half-precision weights get fp32 slow weights, as on the server: fewer bits would lose small moves."""
    return torch.float32 if fast.dtype in (torch.float16, torch.bfloat16) else fast.dtype


def slow_copy(fast: Tensor) -> Tensor:
    """A copy of ``fast`` that nothing else points to, in the slow weights' type."""
    return fast.detach().to(slow_dtype(fast), copy=True)


def widened(slow: Tensor, fast: Tensor) -> Tensor:
    """The fast weights in the slow weights' precision: phi + (theta - what theta started from).

    Half-precision fast weights start from phi rounded to their type. Without taking that rounding out again,
    every sync would pull phi back to the coarse grid, and moves smaller than its spacing would never add up.

    >>> slow = torch.tensor([257.0])
    >>> widened(slow, slow.to(torch.bfloat16) + 2)
    tensor([259.])
    """
    fast = fast.detach()
    if fast.dtype == slow.dtype:
        return fast
    return slow + (fast.to(slow.dtype) - slow.to(fast.dtype).to(slow.dtype))

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
    return slow.lerp_(fast.to(slow.dtype), alpha)


def slow_dtype(fast: Tensor) -> torch.dtype:
    """Half-precision weights get fp32 slow weights, as on the server: alpha x (theta - phi) would be lost in fewer bits."""
    return torch.float32 if fast.dtype in (torch.float16, torch.bfloat16) else fast.dtype


def slow_copy(fast: Tensor) -> Tensor:
    """A copy of ``fast`` that nothing else points to, in the slow weights' type."""
    return fast.detach().to(slow_dtype(fast), copy=True)

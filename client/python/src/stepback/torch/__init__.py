"""Adapters for PyTorch (1.13 and newer).

``Lookahead`` wraps any ``torch.optim.Optimizer``, in process or with a server that owns the slow weights.
``DiLoCo`` turns an ordinary training loop into local-step training of one worker.
"""

from stepback.torch._diloco import DiLoCo
from stepback.torch._lookahead import Lookahead

__all__ = ["DiLoCo", "Lookahead"]

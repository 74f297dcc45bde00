"""Calls something after every step of an optimizer, without torch >= 2.0's hooks."""

from __future__ import annotations

import functools
import types
from typing import Any, Callable, Optional

from torch.optim import Optimizer


class StepHook:
    """Wraps ``optimizer.step`` of one object. Schedulers made before or after it work as ever."""

    def __init__(self, optimizer: Optimizer, after_step: Callable[[], None]) -> None:
        self._optimizer = optimizer
        self._after_step: Optional[Callable[[], None]] = after_step
        self._original = optimizer.step
        self._was_own = optimizer.__dict__.get("step")
        original = self._original

        @functools.wraps(original)
        def step(_optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            if self._after_step is not None:
                self._after_step()
            return result

        # A bound method, because schedulers look for __self__ and __func__.
        self._hooked = types.MethodType(step, optimizer)
        optimizer.__dict__["step"] = self._hooked

    def remove(self) -> None:
        """Puts ``step`` back. A wrapper that someone laid over it meanwhile stays; ours then does nothing."""
        self._after_step = None
        if self._optimizer.__dict__.get("step") is not self._hooked:
            return
        if self._was_own is None:
            del self._optimizer.__dict__["step"]
        else:
            self._optimizer.__dict__["step"] = self._was_own

"""The answer to a push that was not waited for."""

from __future__ import annotations

import asyncio
from typing import Any, Generator, Optional

from stepback._transport import PushTransport
from stepback._types import PushResult


class PushFuture:
    """What ``Worker.push_async`` returns. Any thread may ask it, as often as it likes, also after the worker is
    closed; ``await`` waits for it in a coroutine::

        futures = [worker.push_async(gradient) for gradient in gradients]
        results = [future.result() for future in futures]
    """

    def __init__(self, core: PushTransport) -> None:
        self._core = core

    def done(self) -> bool:
        """Whether ``result`` would return or raise at once."""
        return self._core.done()

    def result(self, timeout: Optional[float] = None) -> PushResult:
        """What ``push_gradient`` or ``push_weights`` would have returned or raised.

        Args:
            timeout: seconds; None: as long as the push takes. DeadlineExceededError ends the wait only: the push
                goes on, and so does ``result``.
        """
        return self._core.result(timeout_ms=0 if timeout is None else max(1, round(timeout * 1000)))

    def __await__(self) -> Generator[Any, None, PushResult]:
        return asyncio.get_running_loop().run_in_executor(None, self.result).__await__()

    def __repr__(self) -> str:
        return f"<stepback.PushFuture {'done' if self.done() else 'in flight'}>"

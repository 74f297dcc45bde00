"""Steps of fragments on their way while training goes on."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Callable, Dict, Optional

from stepback._errors import DeadlineExceededError, InvalidArgumentError


class Flights:
    """Runs the data calls of one worker in the background, in order, on a thread of its own.

    The core takes one data call at a time anyway, so one thread is as good as many.
    """

    def __init__(self) -> None:
        self._executor: Optional[ThreadPoolExecutor] = None
        self._under_way: Dict[int, "Future[Any]"] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, fragment: int, call: Callable[[], Any]) -> None:
        if fragment in self._under_way:
            raise InvalidArgumentError(f"fragment {fragment} is under way: finish it before the next push")
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, "stepback-fragments")
        self._under_way[fragment] = self._executor.submit(call)

    def finish(self, fragment: int, timeout: Optional[float]) -> Any:
        if fragment not in self._under_way:
            raise InvalidArgumentError(f"fragment {fragment} is not under way: begin it first")
        call = self._under_way[fragment]
        if wait([call], timeout).not_done:
            raise DeadlineExceededError(f"fragment {fragment} is still under way after {timeout} s")
        del self._under_way[fragment]
        return call.result()

    def drop(self) -> None:
        """Forgets what is under way; the calls have been cancelled."""
        executor, self._executor = self._executor, None
        self._under_way.clear()
        if executor is not None:
            executor.shutdown(wait=True)

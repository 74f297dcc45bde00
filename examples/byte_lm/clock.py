"""Processor time of this process, over the blocks that count."""

from __future__ import annotations

import time


class Clock:
    """``with clock:`` adds a block. Waiting is free, and what is outside of blocks does not count."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.process_time()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.process_time() - self._began

"""A line per experiment: redrawn in place on a terminal, once at the end elsewhere."""

from __future__ import annotations

import sys
import time

WIDTH = 20


class Progress:
    def __init__(self, experiments: int) -> None:
        self._total, self._done, self._runs = experiments, 0, 0
        self._title, self._began = "", 0.0
        self._tty = sys.stdout.isatty()

    def begin(self, title: str) -> None:
        self._title, self._began, self._runs = title, time.monotonic(), 0
        self._show()

    def tick(self) -> None:
        """One more model is trained."""
        self._runs += 1
        self._show()

    def end(self, note: str) -> None:
        self._done += 1
        print(("\r" if self._tty else "") + f"{self._line()}  {note}", flush=True)

    def _show(self) -> None:
        if self._tty:
            print("\r" + self._line(), end="", flush=True)

    def _line(self) -> str:
        cells = "#" * (WIDTH * self._done // self._total)
        seconds = time.monotonic() - self._began
        return f"  [{cells:<{WIDTH}}] {self._title:<13} {self._runs:>3} models {seconds:>6.1f} s"

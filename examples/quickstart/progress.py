"""A progress bar: redrawn in place on a terminal, a line every quarter elsewhere."""

from __future__ import annotations

import sys

WIDTH = 32


class Bar:
    def __init__(self, title: str, total: int) -> None:
        self._title = title
        self._total = total
        self._tty = sys.stdout.isatty()
        self._shown = -1

    def show(self, done: int, note: str = "") -> None:
        """``done`` of the total; ``note`` stands behind the bar."""
        share = min(done, self._total) / self._total
        mark = int(share * (200 if self._tty else 4))
        if mark == self._shown:
            return
        self._shown = mark
        cells = int(share * WIDTH)
        line = f"  {self._title:<44} [{'#' * cells:<{WIDTH}}] {done:>5}/{self._total}  {note}"
        print(f"\r{line:<114}" if self._tty else line, end="" if self._tty else "\n", flush=True)

    def end(self) -> None:
        if self._tty:
            print(flush=True)

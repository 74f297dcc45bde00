"""The worker processes of the delta run, and what they report."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

PROGRAM = Path(__file__).with_name("delta_worker.py")
SILENCE_SECONDS_MAX = 300.0  # without a report from any worker

Report = Dict[str, Any]


class Workers:
    """Reads every worker's standard output until all have ended."""

    def __init__(self, processes: List[subprocess.Popen[str]]) -> None:
        self._processes = processes
        self._lines: queue.Queue[Optional[str]] = queue.Queue()
        for process in processes:
            threading.Thread(target=self._read, args=(process,), daemon=True).start()

    def reports(self) -> Iterator[Report]:
        """Reports as they come; RuntimeError when a worker fails or all are silent for too long."""
        reading = len(self._processes)
        while reading:
            try:
                line = self._lines.get(timeout=SILENCE_SECONDS_MAX)
            except queue.Empty:
                raise RuntimeError(f"no worker has reported for {SILENCE_SECONDS_MAX:.0f} s") from None
            if line is None:
                reading -= 1
            else:
                yield json.loads(line)
        for index, process in enumerate(self._processes):
            if process.wait(timeout=30) != 0:
                raise RuntimeError(f"worker {index} ended with status {process.returncode}")

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._lines.put(line)
        self._lines.put(None)


@contextlib.contextmanager
def start(address: str, model: str, count: int, rate: float) -> Iterator[Workers]:
    """Starts the workers; leaving the block ends those that are still there."""
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                str(PROGRAM),
                f"--server={address}",
                f"--model={model}",
                f"--index={index}",
                f"--workers={count}",
                f"--rate={rate}",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(count)
    ]
    try:
        yield Workers(processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()

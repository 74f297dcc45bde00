"""The file of runs: every run is written when it ends, and none that is there is run again."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from trial import Run, Trial


class Ledger:
    """``ledger(trial)`` is the trial's run, from the file or trained now by ``train``.

    Runs of one file have one ``setting`` (corpus, model): a file of another is refused when a run is missing.
    """

    def __init__(self, path: Optional[Path], train: Callable[[Trial], Run], setting: Dict[str, Any]) -> None:
        self._path = path
        self._train = train
        self._here = setting
        there = json.loads(path.read_text()) if path is not None and path.exists() else {}
        self.setting: Dict[str, Any] = there.get("setting", setting)
        self._runs: List[Run] = [Run.from_json(given) for given in there.get("runs", [])]

    def __call__(self, trial: Trial) -> Run:
        for run in self._runs:
            if run.trial == trial:
                return run
        if self.setting != self._here:
            raise ValueError(f"{self._path} has runs of {self.setting}, expected {self._here}")
        began = time.monotonic()
        run = self._train(trial)
        print(f"  {trial!s:<58} loss {run.loss:.4f}  {time.monotonic() - began:6.1f} s", flush=True)
        self._runs.append(run)
        self.write({})
        return run

    def write(self, found: Dict[str, Any]) -> None:
        """The setting, what was found, and a line per run."""
        if self._path is None:
            return
        head = json.dumps({"setting": self.setting, **found}, indent=1)
        lines = ",\n".join("  " + json.dumps(asdict(run)) for run in self._runs)
        self._path.write_text(f'{head[:-2]},\n "runs": [\n{lines}\n ]\n}}\n')

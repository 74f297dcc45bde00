"""The figures of the runs: a table for people, JSON for scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Dict, List, Union

from runs import Run


def table(runs: List[Run]) -> str:
    head = (
        f"  {'run':<10} {'what':<42} {'accuracy':>8} {'steps':>6} {'sent':>9} {'received':>9} {'seconds':>8}"
    )
    rows = [
        f"  {run.name:<10} {run.title:<42} {run.accuracy:>8.3f} {run.steps:>6} {size(run.bytes_sent):>9} "
        f"{size(run.bytes_received):>9} {run.seconds:>8.1f}"
        for run in runs
    ]
    return "\n".join([head, "  " + "-" * (len(head) - 2), *rows])


def size(count: int) -> str:
    """1234567 -> 1.2 MB."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def write_json(runs: List[Run], path: Path) -> None:
    figures: Dict[str, Union[int, float]] = {}
    for run in runs:
        figures[f"{run.name}_accuracy"] = round(run.accuracy, 4)
        figures[f"{run.name}_steps"] = run.steps
        figures[f"{run.name}_bytes_sent"] = run.bytes_sent
        figures[f"{run.name}_bytes_received"] = run.bytes_received
        figures[f"{run.name}_seconds"] = round(run.seconds, 2)
    path.write_text(json.dumps(figures, indent=2) + "\n")

"""How every figure looks: theory as lines, server runs as points with the band as bars."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterable, List

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from comparison import Comparison

COLORS = ("#2a6fbb", "#d1622b", "#3a8f5c", "#8a4fa3", "#777777", "#b08a1e")
NOTE = "lines: theory; points: runs through the server, bars: 5 standard errors"


def panels(rows: int, columns: int, width: float = 9.0, height: float = 4.8, **options: Any) -> Any:
    """A figure and its axes as a flat list."""
    figure, axes = plt.subplots(
        rows, columns, figsize=(width, height), constrained_layout=True, squeeze=False, **options
    )
    for one in axes.flat:
        one.grid(alpha=0.25)
    return figure, list(axes.flat)


def points(axes: Any, found: List[Comparison], color: str, label: str = "", xs: Iterable[float] = ()) -> None:
    if not found:
        return
    axes.errorbar(
        list(xs) or [one.x for one in found],
        [one.measured for one in found],
        yerr=[one.band * one.unit for one in found],
        fmt="o",
        markersize=3.5,
        linewidth=0,
        elinewidth=1,
        capsize=2,
        color=color,
        label=label or None,
        zorder=3,
    )


def save(figure: Any, title: str, path: Path, note: str = NOTE) -> None:
    figure.suptitle(f"{title}\n", fontsize=12)
    below_title = 1 - 0.36 / figure.get_figheight()
    figure.text(0.5, below_title, note, ha="center", va="center", fontsize=8.5, color="#555555")
    figure.savefig(path, dpi=120)
    plt.close(figure)

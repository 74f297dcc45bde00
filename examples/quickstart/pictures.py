"""Two pictures: what a sync does to the test loss, and the three runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import List

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from runs import LOOKAHEAD_STEPS, Run

ZOOM = slice(600, 660)  # steps of the close-up
COLORS = {"local": "#888888", "gradient": "#d1622b", "delta": "#2a6fbb"}


def fast_and_slow(run: Run, path: Path) -> None:
    """Inner updates degrade, the outer update restores: a whole run above, a dozen cycles below."""
    figure, (whole, close) = plt.subplots(2, 1, figsize=(9, 7.5), constrained_layout=True)
    for axes, fast in ((whole, run.fast_curve), (close, run.fast_curve[ZOOM])):
        steps = {step for step, _ in fast}
        slow = [point for point in run.curve if point[0] in steps]
        axes.plot(*zip(*fast), color="#e3a27f", linewidth=1, label="fast weights, after every inner step")
        axes.plot(
            *zip(*slow), color="#7a2d0c", linewidth=1.6, marker=".", label="slow weights, at every sync"
        )
        axes.set_ylabel("test loss")
        axes.grid(alpha=0.25)
    whole.set_yscale("log")
    whole.legend()
    whole.set_title(f"Server-side SGD + Lookahead, k = {LOOKAHEAD_STEPS}: the whole run")
    close.set_title("A dozen cycles: inner updates degrade, the outer update restores")
    for step, _ in run.curve:
        if ZOOM.start < step <= ZOOM.stop:
            close.axvline(step, color="#cccccc", linewidth=0.6, zorder=0)
    close.set_xlabel("inner steps")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def comparison(runs: List[Run], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(9, 4.5), constrained_layout=True)
    for run in runs:
        label = f"{run.title}: accuracy {run.accuracy:.3f}"
        axes.plot(*zip(*run.curve), color=COLORS[run.name], linewidth=1.4, label=label)
    axes.set_yscale("log")
    axes.set_xlabel("steps of one worker")
    axes.set_ylabel("test loss")
    axes.set_title("Handwritten digits, three ways")
    axes.grid(alpha=0.25)
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)

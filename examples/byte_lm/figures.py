"""One picture: loss over tokens and over time on a stated link, and how both sides were tuned."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any, Callable, List

import link
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from sweep import Method
from trial import Point, Run, Trial

COLORS = ("#777777", "#2a6fbb", "#d1622b", "#3a8f5c")


def draw(methods: List[Method], path: Path) -> None:
    tuned = any(method.tuning for method in methods)
    figure, axes = plt.subplots(
        2 if tuned else 1, 2, figsize=(10, 8 if tuned else 4.2), constrained_layout=True, squeeze=False
    )
    tokens, time = axes[0]
    curves(tokens, methods, lambda trial, point: point.step * trial.tokens_per_step / 1e6)
    curves(time, methods, lambda trial, point: link.seconds(point, link.DRAWN))
    tokens.set_xlabel("million tokens (bytes of text) of all workers")
    time.set_xlabel(f"seconds: processor time + bytes over {link.DRAWN} Mbit/s")
    time.set_xscale("log")
    if tuned:
        for one, field, words in zip(axes[1], ("rate", "outer_rate"), ("AdamW's rate", "the outer rate")):
            sweeps(one, methods, field)
            one.set_xscale("log")
            one.set_xlabel(f"{words} (shorter runs, seed of their own)")
    for one in axes.flat:
        one.set_ylabel("validation loss, nats per byte")
        one.grid(alpha=0.25)
        if one.lines:
            one.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def curves(axes: Any, methods: List[Method], x_of: Callable[[Trial, Point], float]) -> None:
    """The mean over the seeds as a line, all seeds as a band."""
    for method, color in zip(methods, COLORS):
        columns = list(zip(*(run.curve for run in method.runs)))
        xs = [statistics.fmean(x_of(method.trial, point) for point in column) for column in columns]
        losses = [[point.loss for point in column] for column in columns]
        axes.plot(xs, [statistics.fmean(one) for one in losses], ".-", color=color, label=method.title)
        axes.fill_between(
            xs, [min(one) for one in losses], [max(one) for one in losses], color=color, alpha=0.2, lw=0
        )


def sweeps(axes: Any, methods: List[Method], field: str) -> None:
    """Losses of the tuning runs that vary this rate alone, the other as in the first or the best run."""
    for method, color in zip(methods, COLORS):
        runs = along(method.tuning, field)
        if len(runs) > 1:
            xs = [getattr(run.trial, field) for run in runs]
            axes.plot(xs, [run.loss for run in runs], "o-", color=color, markersize=4, label=method.title)


def along(tuning: List[Run], field: str) -> List[Run]:
    """Inner rates were tried at the first run's outer rate, outer ones at the best inner rate found there."""
    inner = [run for run in tuning if run.trial.outer_rate == tuning[0].trial.outer_rate]
    if field == "rate":
        runs = inner
    else:
        best = min(inner, key=lambda run: run.loss).trial.rate if inner else 0.0
        runs = [run for run in tuning if run.trial.rate == best and run.trial.diloco]
    return sorted(runs, key=lambda run: getattr(run.trial, field))

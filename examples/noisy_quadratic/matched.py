"""Convergence at the same final loss: Lookahead against SGD at the rate that ends where Lookahead does."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List

import figures
import numpy as np
from comparison import Comparison, Judge, chosen
from runs import Laboratory
from theory import Problem, Setting, final_loss, matched_rate, trajectory

SPECTRUM = Problem.of(1 / np.arange(1, 1001))
SETTINGS = (Setting(0.5, 0.5, 5), Setting(1.0, 0.5, 5), Setting(1.5, 0.2, 10))
STEPS = (10, 20, 50, 100, 200, 300, 500, 1000, 2000, 5000)


def label(setting: Setting) -> str:
    return f"LA({setting.rate}, {setting.alpha}, {setting.period})"


def pair(setting: Setting) -> Dict[str, Setting]:
    """Lookahead, and the SGD to compare it with."""
    rate = matched_rate(SPECTRUM, final_loss(SPECTRUM, setting))
    return {label(setting): setting, f"SGD for {label(setting)}": Setting(rate)}


def measure(lab: Laboratory) -> List[Comparison]:
    rows, ends = lab.pick((128, (50,)), (256, (1000, 300, 300)), (256, (5000, 5000, 5000)))
    found: List[Comparison] = []
    for setting, end in zip(SETTINGS, ends):
        for case, one in pair(setting).items():
            found += follow(lab, case, one, rows, end)
    return found


def follow(lab: Laboratory, case: str, setting: Setting, rows: int, end: int) -> List[Comparison]:
    steps = [step for step in STEPS if step <= end]
    judge, exact, found = Judge("matched"), trajectory(SPECTRUM, setting, steps), []
    options = {"alpha": setting.alpha, "period": setting.period, "rows": rows}
    with lab.replicas(f"matched {case}", SPECTRUM, setting.rate, **options) as run:
        for step in steps:
            run.advance(step)
            found.append(judge.loss(case, step, run.fast, exact[step][0], SPECTRUM.curvature))
    return found


def draw(found: List[Comparison], path: Path) -> None:
    figure, axes = figures.panels(1, len(SETTINGS), width=12, sharey=True)
    steps = sorted({10 * round(step / 10) for step in np.geomspace(10, 5000, 120)})
    for axis, setting in zip(axes, SETTINGS):
        for color, (case, one) in zip(figures.COLORS, pair(setting).items()):
            exact = trajectory(SPECTRUM, one, steps)
            line = [exact[step][0].loss(SPECTRUM.curvature) for step in steps]
            name = label(one) if one.alpha < 1 else f"SGD at rate {one.rate:.4f}"
            axis.plot(steps, line, color=color, linewidth=1.2, label=name)
            figures.points(axis, chosen(found, case, "loss"), color)
        axis.axhline(final_loss(SPECTRUM, setting), color="#999999", linewidth=0.8, linestyle=":")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel("inner steps")
        axis.legend()
    axes[0].set_ylabel("expected loss")
    note = f"{figures.NOTE}; dotted: where both end"
    figures.save(figure, "The same final loss: a_i = 1 / i, d = 1000, LA(rate, alpha, k)", path, note)

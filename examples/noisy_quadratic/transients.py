"""How mean and variance of P1 move from the start: up within a cycle, back at the sync."""

from __future__ import annotations

from pathlib import Path
from typing import List

import figures
from comparison import Comparison, Judge, chosen
from runs import Laboratory
from theory import Problem, Setting, lookahead_variance, sgd_variance, trajectory

P1 = Problem.of([1.0])
SETTING = Setting(rate=0.1, alpha=0.5, period=5)
STEPS = [*range(1, 26), 30, 35, 40, 45, 49, 50, 53, 60, 70, 80, 90, 94, 95, 100]


def measure(lab: Laboratory) -> List[Comparison]:
    judge, found = Judge("transients"), []
    exact = trajectory(P1, SETTING, STEPS)
    with lab.replicas("transients", P1, SETTING.rate, alpha=SETTING.alpha, period=SETTING.period) as run:
        for step in STEPS:
            run.advance(step)
            fast, slow = exact[step]
            found += judge.moments("P1", step, run.fast, fast, "fast")
            found += judge.moments("P1", step, run.slow, slow, "slow")
    return found


def draw(found: List[Comparison], path: Path) -> None:
    figure, axes = figures.panels(2, 1, height=7.5, sharex=True)
    exact = trajectory(P1, SETTING, range(101))
    alone = trajectory(P1, Setting(SETTING.rate), range(101))
    for axis, name in zip(axes, ("mean", "variance")):
        for color, which, label in zip(figures.COLORS[1::-1], (0, 1), ("fast", "slow")):
            line = [getattr(exact[step][which], name)[0] for step in exact]
            style = "steps-post" if label == "slow" else "default"
            axis.plot(
                list(exact), line, color=color, linewidth=1.1, drawstyle=style, label=f"{label} weights"
            )
            figures.points(axis, chosen(found, "P1", f"{label} {name}"), color)
        line = [getattr(alone[step][0], name)[0] for step in alone]
        axis.plot(list(alone), line, color="#999999", linewidth=1.1, label="SGD alone")
        axis.set_ylabel(name)
        axis.legend()
    axes[1].axhline(lookahead_variance(P1, SETTING)[0], color=figures.COLORS[0], linewidth=0.8, linestyle=":")
    axes[1].axhline(sgd_variance(P1, SETTING.rate)[0], color="#999999", linewidth=0.8, linestyle=":")
    axes[1].set_xlabel("inner steps")
    figures.save(figure, "P1: rate 0.1, alpha 0.5, k = 5; dotted: where the variances end", path)

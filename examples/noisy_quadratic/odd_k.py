"""Beyond the proposition: with odd k Lookahead ends where SGD alone diverges (rate x a = 2.1)."""

from __future__ import annotations

from pathlib import Path
from typing import List

import figures
from comparison import Comparison, Judge, chosen
from runs import Laboratory
from theory import Problem, Setting, lookahead_variance, trajectory

UNIT = Problem.of([1.0])
CASES = {"SGD alone": Setting(2.1), "Lookahead": Setting(2.1, alpha=0.5, period=5)}
STEPS = [1, 3, 5, 8, 10, 15, 20, 24, 25, 30, 35, 40, 44, 45, 50, 55, 60]


def measure(lab: Laboratory) -> List[Comparison]:
    judge, found = Judge("odd_k"), []
    for case, setting in CASES.items():
        exact = trajectory(UNIT, setting, STEPS)
        with lab.replicas(
            f"odd {case}", UNIT, setting.rate, alpha=setting.alpha, period=setting.period
        ) as run:
            for step in STEPS:
                run.advance(step)
                found += judge.moments(case, step, run.fast, exact[step][0])
    return found


def draw(found: List[Comparison], path: Path) -> None:
    figure, (axis,) = figures.panels(1, 1)
    for color, (case, setting) in zip(figures.COLORS[1::-1], CASES.items()):
        exact = trajectory(UNIT, setting, range(61))
        line = [exact[step][0].variance[0] for step in range(1, 61)]
        axis.plot(range(1, 61), line, color=color, linewidth=1.1, label=f"{case}, fast weights")
        figures.points(axis, chosen(found, case, "variance"), color)
    end = lookahead_variance(UNIT, CASES["Lookahead"])[0]
    axis.axhline(
        end, color=figures.COLORS[0], linewidth=0.8, linestyle=":", label=f"after every sync: {end:.3f}"
    )
    axis.set_yscale("log")
    axis.set_xlabel("inner steps")
    axis.set_ylabel("variance")
    axis.legend()
    figures.save(figure, "Rate 2.1, curvature 1, k = 5, alpha 0.5: SGD diverges, Lookahead does not", path)

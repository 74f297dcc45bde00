"""Sets P2 to P6: curvatures over three decades at once, coordinate by coordinate."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Tuple

import figures
import numpy as np
from comparison import Comparison, Judge
from runs import Laboratory
from theory import Array, Problem, Setting, lookahead_variance, sgd_variance, trajectory

SETS: Dict[str, Setting] = {
    "P2": Setting(0.5, 0.5, 5),
    "P3": Setting(0.5, 0.5, 5),
    "P4": Setting(1.5, 0.5, 5),
    "P5": Setting(0.1, 0.8, 5),
    "P6": Setting(0.5, 0.5, 10),
}
INVERSE_NOISE = ("P3",)  # c has variance 1 / a there, 1 elsewhere


def problem(name: str, curvature: Array) -> Problem:
    return Problem.of(curvature, 1 / curvature if name in INVERSE_NOISE else (1.0,))


def size(lab: Laboratory) -> Tuple[Array, int, List[int]]:
    """Curvatures 1 / i, replicas, and the steps to look at (the middle of a cycle among them)."""
    wide = 1 / np.geomspace(1, 1000, 32)
    whole = 1 / np.arange(1, 1001)
    return lab.pick((wide, 1024, [8, 50]), (wide, 32768, [5, 8, 50, 100]), (whole, 1024, [8, 100, 1000]))


def measure(lab: Laboratory) -> List[Comparison]:
    curvature, rows, steps = size(lab)
    judge, found = Judge("spectrum"), []
    for name, setting in SETS.items():
        exact = trajectory(problem(name, curvature), setting, steps)
        options = {"alpha": setting.alpha, "period": setting.period, "rows": rows}
        with lab.replicas(f"spectrum {name}", problem(name, curvature), setting.rate, **options) as run:
            for step in steps:
                run.advance(step)
                found += judge.moments(name, step, run.fast, exact[step][0], "fast")
                found.append(judge.loss(name, step, run.fast, exact[step][0], curvature))
            found += judge.moments(name, steps[-1], run.slow, exact[steps[-1]][1], "slow")
    return found


def draw(found: List[Comparison], path: Path) -> None:
    figure, axes = figures.panels(2, 3, width=12, height=7.5)
    lines = 1 / np.geomspace(1, 1000, 100)
    for axis, (name, setting) in zip(axes, SETS.items()):
        slow = [one for one in found if one.case.startswith(f"{name} [") and one.quantity == "slow variance"]
        step = int(slow[0].x)
        wide = len(slow) == 32
        drawn = np.arange(32) if wide else np.unique(np.geomspace(1, 1000, 32).round().astype(int)) - 1
        curvature = 1 / np.geomspace(1, 1000, 32) if wide else 1 / np.arange(1, 1001)
        shown = [slow[index] for index in drawn]
        figures.points(axis, shown, figures.COLORS[0], "Lookahead", curvature[drawn])
        one = problem(name, lines)
        axis.plot(
            lines, trajectory(one, setting, [step])[step][1].variance, color=figures.COLORS[0], linewidth=1.2
        )
        axis.plot(
            lines, lookahead_variance(one, setting), color=figures.COLORS[0], linewidth=0.8, linestyle=":"
        )
        axis.plot(lines, sgd_variance(one, setting.rate), color="#999999", linewidth=0.8, linestyle=":")
        axis.set_xscale("log")
        axis.set_yscale("log")
        words = f"{name}: rate {setting.rate}, alpha {setting.alpha}, k = {setting.period}"
        axis.set_title(words + (", noise 1 / a" if name in INVERSE_NOISE else ""), fontsize=9)
    summary(axes[5], found)
    for axis in axes[2:5]:
        axis.set_xlabel("curvature a")
    axes[0].set_ylabel("variance of the slow weights")
    axes[3].set_ylabel("variance of the slow weights")
    note = f"after {step} steps; {figures.NOTE}; dotted: where Lookahead (blue) and SGD (grey) end"
    figures.save(figure, "Sets P2 to P6 by curvature", path, note)


def summary(axis: figures.Any, found: List[Comparison]) -> None:
    """The last panel: deviations of everything that was compared."""
    axis.set_axis_off()
    worst = max(found, key=lambda one: abs(one.deviation))
    spread = np.sqrt(np.mean([one.deviation**2 for one in found]))
    lines = [f"{len(found)} comparisons", f"root mean square deviation {spread:.2f}"]
    lines.append(f"largest {abs(worst.deviation):.2f} standard errors")
    axis.text(0.5, 0.5, "\n".join(lines), ha="center", va="center", transform=axis.transAxes)

"""Lookahead around heavy ball: what a sync does to the momentum decides where the variance ends."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List

import figures
import linear
from comparison import Comparison, Judge, chosen
from runs import Laboratory
from theory import Problem

RATE, MOMENTUM, ALPHA, PERIOD = 0.1, 0.9, 0.5, 5
UNIT = Problem.of([1.0])
STEPS = [5, 10, 15, 20, 25, 30, 35, 40, 43, 45, 50, 52, 75, 100, 150]
ALONE = "heavy ball alone"


def schemes() -> Dict[str, linear.Scheme]:
    found = {
        policy: linear.lookahead(1.0, RATE, MOMENTUM, ALPHA, PERIOD, policy) for policy in linear.POLICIES
    }
    return {**found, ALONE: linear.lookahead(1.0, RATE, MOMENTUM, 1.0, PERIOD)}


def measure(lab: Laboratory) -> List[Comparison]:
    judge, found = Judge("momentum"), []
    for case, scheme in schemes().items():
        exact = scheme.moments(STEPS)
        options = {} if case == ALONE else {"alpha": ALPHA, "period": PERIOD, "inner_state": case}
        with lab.replicas(f"momentum {case}", UNIT, RATE, momentum=MOMENTUM, **options) as run:
            for step in STEPS:
                run.advance(step)
                mean, covariance = exact[step]
                variance = covariance[linear.FAST, linear.FAST]
                found.append(judge.mean(case, step, run.fast[:, 0], mean[linear.FAST], variance))
                found.append(judge.variance(case, step, run.fast[:, 0], variance))
    return found


def draw(found: List[Comparison], path: Path) -> None:
    figure, axes = figures.panels(2, 1, height=7.5, sharex=True)
    steps = list(range(101))
    for color, (case, scheme) in zip(figures.COLORS, schemes().items()):
        exact, end = scheme.moments(steps), scheme.stationary()[linear.FAST, linear.FAST]
        means = [exact[step][0][linear.FAST] for step in steps]
        variances = [exact[step][1][linear.FAST, linear.FAST] for step in steps]
        axes[0].plot(steps, means, color=color, linewidth=1.1, label=case)
        axes[1].plot(steps, variances, color=color, linewidth=1.1, label=f"{case}, ends at {end:.4f}")
        axes[1].axhline(end, color=color, linewidth=0.8, linestyle=":")
        for axis, quantity in zip(axes, ("mean", "variance")):
            figures.points(axis, [one for one in chosen(found, case, quantity) if one.x <= 100], color)
    axes[0].set_ylabel("mean of the fast weights")
    axes[1].set_ylabel("variance of the fast weights")
    axes[1].set_xlabel("inner steps")
    axes[1].set_ylim(0, 0.78)
    for axis in axes:
        axis.legend(ncol=2)
    words = f"Heavy ball (rate {RATE}, beta {MOMENTUM}) in Lookahead (alpha {ALPHA}, k = {PERIOD})"
    figures.save(figure, words, path, f"{figures.NOTE}; dotted: after every sync, in the end")

"""Proposition 2: where the variance of the slow weights ends, over a grid of rate, alpha and k."""

from __future__ import annotations

from math import ceil, log
from pathlib import Path
from typing import List

import figures
import numpy as np
from comparison import Comparison, Judge, chosen
from runs import ROWS, Laboratory
from theory import Problem, Setting, contraction, lookahead_variance, sgd_variance

import stepback

UNIT = Problem.of([1.0], start=0.0)  # a = 1: the ratio depends on rate x a only
RATES = (0.1, 0.3, 0.6, 1.0, 1.5, 1.9)
ALPHAS = (0.2, 0.5, 0.8)
PERIODS = (1, 5, 10, 20)
LEFT_MIN = 1e-4  # share of the way to the fixed point that may be left


def measure(lab: Laboratory) -> List[Comparison]:
    found = []
    for alpha in lab.pick((0.5,), ALPHAS, (0.1, *ALPHAS)):
        for period in lab.pick((1, 5), PERIODS, PERIODS):
            found += cell(lab, alpha, period)
    return found


def cell(lab: Laboratory, alpha: float, period: int) -> List[Comparison]:
    """All rates at once: every one is a tensor in a group of its own."""
    names = [f"rate{index}" for index in range(len(RATES))]
    groups = [stepback.group(name, [name], lr_scale=rate) for name, rate in zip(names, RATES)]
    start = {name: np.zeros((ROWS, 1), np.float32) for name in names}
    case, judge, found = label(alpha, period), Judge("fixed_points"), []
    options = {"alpha": alpha, "period": period, "start": start, "groups": groups}
    with lab.replicas(f"fixed {case}", UNIT, 1.0, **options) as run:
        run.advance(steps_to_the_end(alpha, period))
        slow = run.view("eval")
        for name, rate in zip(names, RATES):
            exact = lookahead_variance(UNIT, Setting(rate, alpha, period))[0]
            found.append(judge.variance(case, rate, slow[name][:, 0], exact))
    return found


def label(alpha: float, period: int) -> str:
    return f"alpha={alpha} k={period}"


def steps_to_the_end(alpha: float, period: int) -> int:
    """From theta = 0 the variance goes the whole way but for contraction^(2 syncs)."""
    slowest = max(abs(contraction(UNIT, Setting(rate, alpha, period))[0]) for rate in RATES)
    return period * max(2, ceil(log(LEFT_MIN) / (2 * log(slowest))))


def draw(found: List[Comparison], path: Path) -> None:
    figure, axes = figures.panels(1, len(ALPHAS), width=12, sharey=True)
    rates = np.linspace(0.01, 1.99, 199)
    for axis, alpha in zip(axes, ALPHAS):
        for shift, color, period in zip((-0.03, -0.01, 0.01, 0.03), figures.COLORS, PERIODS):
            ratio = [
                (lookahead_variance(UNIT, Setting(r, alpha, period)) / sgd_variance(UNIT, r))[0]
                for r in rates
            ]
            axis.plot(rates, ratio, color=color, linewidth=1.2, label=f"k = {period}")
            ratios = [scaled(one) for one in chosen(found, label(alpha, period), "variance")]
            figures.points(axis, ratios, color, xs=[one.x + shift for one in ratios])
        axis.set_title(f"alpha = {alpha}", fontsize=10)
        axis.set_xlabel("inner rate x curvature")
    axes[0].set_ylabel("variance of Lookahead / of SGD")
    axes[0].set_ylim(0, 1.05)
    axes[0].legend(loc="upper right")
    figures.save(
        figure,
        "Proposition 2: how much variance Lookahead leaves",
        path,
        f"{figures.NOTE} (set a little apart)",
    )


def scaled(one: Comparison) -> Comparison:
    base = sgd_variance(UNIT, one.x)[0]
    numbers = (one.expected / base, one.measured / base, one.unit / base)
    return Comparison(one.experiment, one.case, one.quantity, one.x, *numbers)

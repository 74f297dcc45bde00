"""Outer momentum on SGD workers in delta mode: DiLoCo, its heavy-ball form, SNOO and FedAvg."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List

import figures
import linear
import numpy as np
from comparison import Comparison, Judge, chosen
from runs import ROWS, Laboratory
from theory import Array

import stepback

RATE = 0.1
CURVATURES = (1.0, 0.01)
ROUNDS = (1, 2, 3, 5, 8, 10, 15, 20, 30, 60)


@dataclass(frozen=True)
class Case:
    rule: stepback.RuleSpec
    workers: int
    period: int
    momentum: float = 0.0
    nesterov: bool = False
    lr: float = 1.0

    def scheme(self, curvature: float) -> linear.Scheme:
        return linear.outer_momentum(
            curvature, RATE, self.period, self.workers, self.lr, self.momentum, self.nesterov
        )


CASES: Dict[str, Case] = {
    "DiLoCo": Case(stepback.diloco(0.7, 0.9), 4, 5, 0.9, True, 0.7),
    "heavy ball": Case(stepback.heavy_ball(0.7, 0.9), 4, 5, 0.9, False, 0.7),
    "SNOO": Case(stepback.snoo(0.68, 0.37), 1, 28, 0.37, True, 0.68),
    "FedAvg": Case(stepback.fedavg(), 4, 5),
}


def measure(lab: Laboratory) -> List[Comparison]:
    found: List[Comparison] = []
    for name, case in CASES.items():
        found += follow(lab, name, case, lab.pick(10, 60, 60))
    return found


def follow(lab: Laboratory, name: str, case: Case, rounds: int) -> List[Comparison]:
    looked = [count for count in ROUNDS if count <= rounds]
    exact = {a: case.scheme(a).moments(looked) for a in CURVATURES}
    judge, noise, found = Judge("outer"), lab.noise(name), []
    start = {"theta": np.ones((ROWS, len(CURVATURES)), np.float32)}
    policy = stepback.sync(quorum=case.workers)
    with lab.model(f"outer {name}", start, outer=case.rule, rounds=policy) as model:
        workers = [model.join(f"w{index}") for index in range(case.workers)]
        for count in range(1, rounds + 1):
            for worker in workers:
                theta = worker.pull()["theta"]
                worker.push_weights({"theta": train(theta, case.period, noise)}, local_steps=case.period)
            if count in looked:
                phi = model.pull()["theta"]
                for column, a in enumerate(CURVATURES):
                    mean, covariance = exact[a][count]
                    label, rows = f"{name}, a = {a:g}", phi[:, column]
                    found.append(judge.mean(label, count, rows, mean[0], covariance[0, 0]))
                    found.append(judge.variance(label, count, rows, covariance[0, 0]))
        for worker in workers:
            worker.close()
    return found


def train(theta: Array, steps: int, noise: Any) -> Array:
    """A worker's inner steps, here and not on the server."""
    a, rate = np.float32(CURVATURES), np.float32(RATE)
    for _ in range(steps):
        theta = theta - rate * a * (theta - noise.standard_normal(theta.shape, dtype=np.float32))
    return theta


def draw(found: List[Comparison], path: Path) -> None:
    figure, axes = figures.panels(2, 2, width=11, height=7.5, sharex=True)
    rounds = list(range(61))
    for column, a in enumerate(CURVATURES):
        above, below = axes[column], axes[2 + column]
        for color, (name, case) in zip(figures.COLORS, CASES.items()):
            exact = case.scheme(a).moments(rounds)
            label = f"{name}: n = {case.workers}, k = {case.period}"
            above.plot(rounds, [exact[r][0][0] for r in rounds], color=color, linewidth=1.1, label=label)
            below.plot(rounds, [exact[r][1][0, 0] for r in rounds], color=color, linewidth=1.1)
            end = case.scheme(a).stationary()[0, 0]
            below.axhline(end, color=color, linewidth=0.8, linestyle=":")
            figures.points(above, chosen(found, f"{name}, a = {a:g}", "mean"), color)
            figures.points(below, chosen(found, f"{name}, a = {a:g}", "variance"), color)
        above.set_title(f"curvature {a:g}", fontsize=10)
        below.set_xlabel("rounds")
    axes[0].set_ylabel("mean of the slow weights")
    axes[2].set_ylabel("variance of the slow weights")
    axes[0].legend()
    figures.save(
        figure, f"Outer rules on SGD workers at rate {RATE}", path, f"{figures.NOTE}; dotted: in the end"
    )

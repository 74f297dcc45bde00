"""Without noise: heavy ball and Lookahead around it, by condition number and by rate x curvature."""

from __future__ import annotations

from pathlib import Path
from typing import List, Tuple

import figures
import numpy as np
from comparison import Comparison, Judge, chosen
from linear import rate_per_step, spectral_radius, tuned_rate
from runs import Laboratory
from theory import Array, Problem

MOMENTUM, PERIOD, CYCLES = 0.99, 20, 8
ALPHAS = {"heavy ball": 1.0, "Lookahead": 0.5}
RATES = np.arange(1, 400) / 100
KAPPAS = (3, 10, 30, 100, 300, 1000)
PRODUCTS = (
    0.01,
    0.025,
    0.1,
    0.2,
    0.3,
    0.5,
    0.8,
    1.0,
    1.3,
    1.7,
    2.0,
    2.4,
    2.7,
    3.0,
    3.3,
    3.5,
    3.7,
    3.9,
)  # rate x curvature
ALLOWED = 5e-6  # of a measured contraction: float32 weights over a few cycles


def eigenvalues(kappa: float) -> Array:
    """Close enough that no gap hides a slow one."""
    return np.geomspace(1 / kappa, 1, 401)


def measure(lab: Laboratory) -> List[Comparison]:
    judge, found = Judge("condition"), []
    for case, alpha in ALPHAS.items():
        for kappa in lab.pick((10,), KAPPAS, KAPPAS):
            spectrum = eigenvalues(kappa)
            rate, exact = tuned_rate(spectrum, RATES, MOMENTUM, alpha, PERIOD)
            measured = contractions(lab, f"{case} kappa {kappa}", spectrum, rate, alpha).max()
            found.append(judge.exact(case, "1 - rate", kappa, 1 - exact, 1 - measured, ALLOWED))
        curvature = np.array(PRODUCTS)
        exact = rate_per_step(curvature, 1.0, MOMENTUM, alpha, PERIOD)
        measured = contractions(lab, f"{case} products", curvature, 1.0, alpha)
        for x, one, other in zip(PRODUCTS, exact, measured):
            found.append(judge.exact(case, "contraction", x, one, other, ALLOWED))
    return found


def contractions(lab: Laboratory, name: str, curvature: Array, rate: float, alpha: float) -> Array:
    """Per inner step, of every coordinate, from its weights after every cycle."""
    problem = Problem.of(curvature, [0.0])
    options = {"alpha": alpha, "period": PERIOD, "rows": 1}
    weights = []
    with lab.replicas(f"condition {name}", problem, rate, momentum=MOMENTUM, **options) as run:
        for cycle in range(CYCLES + 1):
            run.advance(cycle * PERIOD)
            weights.append(run.fast[0].astype(np.float64))
    trace, determinant = recurrence(np.array(weights))
    return spectral_radius(trace, determinant) ** (1 / PERIOD)


def recurrence(x: Array) -> Tuple[Array, Array]:
    """One cycle maps (weight, momentum) by a 2 x 2 matrix, so x_{s+2} = trace x_{s+1} - determinant x_s:
    least squares over the cycles, by coordinate, every equation as heavy as the others."""
    scale = np.abs(x[1:-1]) + np.abs(x[:-2])
    p, q, y = x[1:-1] / scale, x[:-2] / scale, x[2:] / scale
    pp, qq, pq = (p * p).sum(0), (q * q).sum(0), (p * q).sum(0)
    py, qy = (p * y).sum(0), (q * y).sum(0)
    size = pp * qq - pq * pq
    return (qq * py - pq * qy) / size, (pq * py - pp * qy) / size


def draw(found: List[Comparison], path: Path) -> None:
    figure, (left, right) = figures.panels(1, 2, width=12)
    kappas, products = np.union1d(np.geomspace(2, 2000, 25), KAPPAS), product(np.linspace(0.02, 1.56, 1200))
    for color, (case, alpha) in zip(figures.COLORS[1::-1], ALPHAS.items()):
        tuned = [1 - tuned_rate(eigenvalues(k), RATES, MOMENTUM, alpha, PERIOD)[1] for k in kappas]
        left.plot(kappas, tuned, color=color, linewidth=1.2, label=case)
        figures.points(left, chosen(found, case, "1 - rate"), color)
        line = rate_per_step(products, 1.0, MOMENTUM, alpha, PERIOD)
        right.plot(products, line, color=color, linewidth=1.2, label=case)
        figures.points(right, chosen(found, case, "contraction"), color)
    right.axhline(1, color="#999999", linewidth=0.8, linestyle=":")
    left.set_xlabel("condition number")
    left.set_ylabel("1 - contraction per step, rate tuned")
    right.set_xlabel("rate x curvature")
    right.set_ylabel("contraction per step")
    left.set_xscale("log")
    left.set_yscale("log")
    right.set_xscale("function", functions=(angle, product))
    right.set_xticks([0.01, 0.1, 0.3, 0.6, 1, 1.5, 2, 2.5, 3, 3.5, 3.9])
    right.set_xlim(0.002, 3.999)
    right.set_ylim(0.885, 1.1)
    left.legend()
    right.legend(loc="upper left")
    words = f"No noise: momentum {MOMENTUM}, k = {PERIOD}, alpha 0.5"
    figures.save(figure, words, path, "lines: theory; points: runs through the server")


def angle(x: Array) -> Array:
    """Half of what undamped heavy ball turns by in a step: on this axis the beat of k steps is even."""
    return np.arcsin(np.sqrt(np.clip(x, 0, 4)) / 2)


def product(half_angle: Array) -> Array:
    return 4 * np.sin(half_angle) ** 2

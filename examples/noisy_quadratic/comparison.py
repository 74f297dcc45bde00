"""What a server's run showed beside what the theory says, in standard errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List

import numpy as np
from theory import Array, Moments

BAND = 5.0  # standard errors that a statistic may be away
ROUNDING = 2e-7  # of weights near 1 in float32: what moments may be away without noise


@dataclass(frozen=True)
class Comparison:
    """``x`` is where the figure has it: mostly the step. ``unit`` is the standard error, or without noise the
    allowance for float32."""

    experiment: str
    case: str
    quantity: str
    x: float
    expected: float
    measured: float
    unit: float
    band: float = BAND

    @property
    def deviation(self) -> float:
        return (self.measured - self.expected) / self.unit

    @property
    def inside(self) -> bool:
        return bool(abs(self.deviation) <= self.band)  # not so for NaN


@dataclass(frozen=True)
class Judge:
    """Makes the comparisons of one experiment."""

    experiment: str

    def mean(
        self, case: str, x: float, rows: Array, mean: float, variance: float, name: str = "mean"
    ) -> Comparison:
        """``rows``: one value of each replica."""
        unit = np.sqrt(variance / len(rows)) + ROUNDING
        return self._judge(case, name, x, mean, np.mean(rows, dtype=np.float64), unit)

    def variance(
        self, case: str, x: float, rows: Array, variance: float, name: str = "variance"
    ) -> Comparison:
        unit = variance * np.sqrt(2 / (len(rows) - 1)) + ROUNDING**2
        return self._judge(case, name, x, variance, np.var(rows, ddof=1, dtype=np.float64), unit)

    def moments(
        self, case: str, x: float, weights: Array, exact: Moments, which: str = ""
    ) -> List[Comparison]:
        """Mean and variance of every column of ``weights`` [R, d]."""
        made = []
        for column, (mean, variance) in enumerate(zip(exact.mean, exact.variance)):
            label = case if len(exact.mean) == 1 else f"{case} [{column}]"
            rows = weights[:, column]
            made.append(self.mean(label, x, rows, mean, variance, f"{which} mean".strip()))
            made.append(self.variance(label, x, rows, variance, f"{which} variance".strip()))
        return made

    def loss(self, case: str, x: float, weights: Array, exact: Moments, curvature: Array) -> Comparison:
        losses = 0.5 * (weights.astype(np.float64) ** 2) @ curvature
        unit = np.sqrt(exact.loss_variance(curvature) / len(losses))
        return self._judge(case, "loss", x, exact.loss(curvature), losses.mean(), unit)

    def exact(
        self, case: str, name: str, x: float, expected: float, measured: float, unit: float
    ) -> Comparison:
        """Without noise: one ``unit`` is the band."""
        return self._judge(case, name, x, expected, measured, unit, 1.0)

    def _judge(self, case: str, name: str, x: float, *numbers: Any) -> Comparison:
        return Comparison(self.experiment, case, name, float(x), *map(float, numbers))


def chosen(comparisons: List[Comparison], case: str, quantity: str) -> List[Comparison]:
    return [one for one in comparisons if (one.case, one.quantity) == (case, quantity)]

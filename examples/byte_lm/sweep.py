"""Learning rates, tuned the same way on both sides, and the runs that count."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Callable, List, Sequence

from trial import Run, Trial

SYNC_RATES = (0.00125, 0.0025, 0.005, 0.01)  # of AdamW
DILOCO_RATES = (0.0025, 0.005, 0.01, 0.02)
OUTER_RATES = (0.35, 0.5, 0.7, 1.0)
OUTER_RATE, OUTER_MOMENTUM = 0.7, 0.9  # as published (Douillard et al. 2023)
GROWTH_MAX = 3  # values that a grid may gain
TUNING_SEED = 0
PUSH_CODEC, PULL_CODEC = "nf4", "int8"

Train = Callable[[Trial], Run]


@dataclass(frozen=True)
class Effort:
    """How much is trained. Tuning runs are shorter, equally for all methods, and have a seed of their own."""

    steps: int
    tuning_steps: int  # 0: no tuning, QUICK_RATE and the published outer rate
    batch: int
    seeds: Sequence[int]
    periods: Sequence[int]  # H of the DiLoCo runs
    evaluate_every: int = 100
    windows: int = 64  # of the validation bytes, of each worker


FULL = Effort(steps=1600, tuning_steps=600, batch=2, seeds=(1, 2, 3), periods=(20, 50), evaluate_every=200)
QUICK = Effort(steps=200, tuning_steps=0, batch=2, seeds=(1,), periods=(50,), evaluate_every=50, windows=32)
QUICK_RATE = 0.01


@dataclass
class Method:
    """One way to train at its best rates: the runs that tuned it and those that count, one per seed."""

    tuning: List[Run]
    runs: List[Run]

    @property
    def trial(self) -> Trial:
        return self.runs[0].trial

    @property
    def title(self) -> str:
        return f"DiLoCo, H = {self.trial.sync_every}" if self.trial.diloco else "synchronous"


def measure(train: Train, effort: Effort) -> List[Method]:
    """The synchronous baseline, then DiLoCo by H."""
    return [method(train, effort, first) for first in starts(effort)]


def starts(effort: Effort) -> List[Trial]:
    steps = effort.tuning_steps or effort.steps
    baseline = Trial(1, QUICK_RATE, steps, TUNING_SEED, effort.batch, evaluate_every=steps)
    diloco = replace(
        baseline,
        outer_rate=OUTER_RATE,
        outer_momentum=OUTER_MOMENTUM,
        push_codec=PUSH_CODEC,
        pull_codec=PULL_CODEC,
    )
    return [baseline, *(replace(diloco, sync_every=period) for period in effort.periods)]


def method(train: Train, effort: Effort, first: Trial) -> Method:
    tuning: List[Run] = []
    best = first
    if effort.tuning_steps:
        best = tuned(train, best, "rate", DILOCO_RATES if best.diloco else SYNC_RATES, tuning)
        if best.diloco:
            best = tuned(train, best, "outer_rate", OUTER_RATES, tuning)
    best = replace(best, steps=effort.steps, evaluate_every=effort.evaluate_every)
    return Method(tuning, [train(replace(best, seed=seed)) for seed in effort.seeds])


def tuned(train: Train, base: Trial, field: str, values: Sequence[float], tuning: List[Run]) -> Trial:
    """The best value of ``field``. A grid whose best value is its last or first grows at that end."""
    grid = list(values)
    found = {value: _trained(train, replace(base, **{field: value}), tuning) for value in grid}
    for _ in range(GROWTH_MAX):
        best = min(grid, key=lambda value: found[value].loss)
        if best == grid[0]:
            grid.insert(0, rounded(grid[0] * grid[0] / grid[1]))
        elif best == grid[-1]:
            grid.append(rounded(grid[-1] * grid[-1] / grid[-2]))
        else:
            break
        for value in {grid[0], grid[-1]} - found.keys():
            found[value] = _trained(train, replace(base, **{field: value}), tuning)
    return min(found.values(), key=lambda run: run.loss).trial


def _trained(train: Train, trial: Trial, tuning: List[Run]) -> Run:
    run = next((one for one in tuning if one.trial == trial), None)
    if run is None:
        run = train(trial)
        tuning.append(run)
    return run


def rounded(value: float) -> float:
    """To three digits, for names and tables."""
    return float(f"{value:.3g}")

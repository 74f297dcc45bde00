"""The methods side by side, over their seeds."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Dict, List, Sequence

import link
from sweep import Method
from trial import WORKERS


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (0 for one value)."""

    mean: float
    deviation: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0)


@dataclass(frozen=True)
class Row:
    """A method's figures at the end of its runs. Bytes are all workers', as their clients counted them."""

    title: str
    rate: float
    outer_rate: float
    seeds: int
    loss: Spread  # validation, nats per byte
    gap: Spread  # to the baseline's loss with the same seed, per cent
    megabytes_up: float
    megabytes_down: float
    fewer_bytes: float  # times fewer than the baseline
    compute_milliseconds: float  # processor time of one worker per step
    seconds: Dict[int, float]  # by the link's megabits per second


def rows(methods: List[Method]) -> List[Row]:
    """The first method is the baseline."""
    return [row(one, methods[0]) for one in methods]


def row(method: Method, baseline: Method) -> Row:
    ends = [run.curve[-1] for run in method.runs]
    gaps = [100 * (run.loss / other.loss - 1) for run, other in zip(method.runs, baseline.runs)]
    bytes_of = [statistics.fmean(run.bytes for run in one.runs) for one in (method, baseline)]
    return Row(
        title=method.title,
        rate=method.trial.rate,
        outer_rate=method.trial.outer_rate,
        seeds=len(ends),
        loss=Spread.of([end.loss for end in ends]),
        gap=Spread.of(gaps),
        megabytes_up=WORKERS * statistics.fmean(end.bytes_sent for end in ends) / 1e6,
        megabytes_down=WORKERS * statistics.fmean(end.bytes_received for end in ends) / 1e6,
        fewer_bytes=bytes_of[1] / bytes_of[0],
        compute_milliseconds=statistics.fmean(1e3 * end.compute_seconds / end.step for end in ends),
        seconds={
            speed: statistics.fmean(link.seconds(end, speed) for end in ends) for speed in link.MEGABITS
        },
    )

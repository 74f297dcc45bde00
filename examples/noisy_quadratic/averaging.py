"""Averages of the slow weights: what is left to gain once Lookahead has averaged already."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Tuple

import figures
import numpy as np
from comparison import Comparison, Judge, chosen
from runs import ROWS, Laboratory
from theory import (
    Problem,
    Setting,
    averaged_variance,
    contraction,
    ema_variance,
    lookahead_variance,
    mean_variance,
)

import stepback

UNIT = Problem.of([1.0], start=0.0)
CASES = {"Lookahead": Setting(0.1, 0.5, 5), "SGD": Setting(0.1, 1.0, 5)}
SYNCS = (1, 2, 5, 10, 20, 50, 100)
SWA_PERIOD = 5
DECAYS = (0.5, 0.9)
AVERAGES = {
    "mean": stepback.polyak(),
    "swa": stepback.swa(period=SWA_PERIOD),
    **{f"ema{round(100 * decay)}": stepback.ema(decay=decay) for decay in DECAYS},
}


def chain(setting: Setting) -> Tuple[float, float]:
    """From sync to sync the slow weights are AR(1): their variance and correlation."""
    return float(lookahead_variance(UNIT, setting)[0]), float(contraction(UNIT, setting)[0])


def weights(name: str, syncs: int) -> np.ndarray:
    """What the average gives to the slow weights of each sync."""
    if name == "mean":
        return np.full(syncs, 1 / syncs)
    if name == "swa":
        taken = np.arange(1, syncs + 1) % SWA_PERIOD == 0
        return taken / taken.sum()
    decay = int(name[3:]) / 100
    return (1 - decay) * decay ** np.arange(syncs)[::-1] / (1 - decay**syncs)


def measure(lab: Laboratory) -> List[Comparison]:
    found: List[Comparison] = []
    for case, setting in CASES.items():
        found += follow(lab, case, setting, lab.pick(20, 100, 100))
    return found


def follow(lab: Laboratory, case: str, setting: Setting, syncs: int) -> List[Comparison]:
    """Starts where the chain ends, so that every sync samples the same distribution."""
    judge, (variance, correlation), found = Judge("averaging"), chain(setting), []
    start = lab.noise(f"start {case}").standard_normal((ROWS, 1)) * np.sqrt(variance)
    options = {"outer": stepback.lookahead(setting.alpha), "averages": AVERAGES}
    options["start"] = {"theta": start.astype(np.float32)}
    with lab.replicas(f"averaging {case}", UNIT, setting.rate, period=setting.period, **options) as run:
        for count in [one for one in SYNCS if one <= syncs]:
            run.advance(count * setting.period)
            found.append(judge.variance(case, count, run.slow[:, 0], variance, "slow"))
            for name in AVERAGES:
                if name == "swa" and count < SWA_PERIOD:
                    continue
                exact = averaged_variance(weights(name, count), variance, correlation)
                rows = run.view(f"average:{name}")["theta"][:, 0]
                found.append(judge.variance(case, count, rows, exact, name))
    return found


def draw(found: List[Comparison], path: Path) -> None:
    figure, (means, emas) = figures.panels(1, 2, width=11, sharey=True)
    counts, decays = np.geomspace(1, 100, 100), np.linspace(0, 0.99, 100)
    for color, (case, setting) in zip(figures.COLORS, CASES.items()):
        variance, rho = chain(setting)
        means.plot(
            counts, mean_variance(counts, variance, rho), color=color, linewidth=1.2, label=f"{case}, mean"
        )
        figures.points(means, chosen(found, case, "mean"), color)
        swa = mean_variance(counts / SWA_PERIOD, variance, rho**SWA_PERIOD)
        late = counts >= SWA_PERIOD
        label = f"{case}, SWA of every {SWA_PERIOD}th"
        means.plot(counts[late], swa[late], color=color, linewidth=1, linestyle="--", label=label)
        figures.points(means, chosen(found, case, "swa"), color)
        emas.plot(decays, ema_variance(decays, variance, rho), color=color, linewidth=1.2, label=case)
        for decay in DECAYS:
            last: Dict[float, Comparison] = {
                one.x: one for one in chosen(found, case, f"ema{round(100 * decay)}")
            }
            figures.points(emas, [last[max(last)]], color, xs=[decay])
    means.set_xscale("log")
    means.set_yscale("log")
    means.set_xlabel("syncs averaged over")
    means.set_ylabel("variance")
    emas.set_xlabel("decay of the moving average")
    for axis in (means, emas):
        axis.legend()
    figures.save(figure, "Averages of the slow weights of P1 (SGD: its weights every 5 steps)", path)

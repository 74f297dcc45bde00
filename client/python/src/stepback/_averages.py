"""Averages of the slow weights (``create_model(averages=...)``)."""

from __future__ import annotations

from stepback._rules import RuleSpec, rule


def ema(decay: float = 0.999, debias: bool = True) -> RuleSpec:
    """Exponential moving average. ``debias``: starts at zero and corrects for it, so that the first sample is the
    average; else it starts at the initial weights."""
    return rule("ema", decay=decay, debias=float(debias))


def polyak(start: int = 1) -> RuleSpec:
    """Polyak-Ruppert: the mean of the slow weights after every sync from ``start`` on."""
    return rule("polyak", start=start)


def swa(start: int = 1, period: int = 1) -> RuleSpec:
    """Stochastic weight averaging: the mean after every ``period``-th sync from ``start`` on (Izmailov et al. 2018).
    Batch-normalisation statistics are the caller's to recompute."""
    return rule("swa", start=start, period=period)


def rna(memory: int = 10, regularization: float = 1e-5, first: bool = False) -> RuleSpec:
    """Regularised nonlinear acceleration: an extrapolation from the slow weights of the last ``memory`` syncs (3 to
    10), from the third on (Scieur et al. 2016). ``first``: combines all of them but the newest; else all but the
    oldest."""
    return rule("rna", memory=memory, regularization=regularization, first=float(first))


def online_rna(memory: int = 10, regularization: float = 1e-5) -> RuleSpec:
    """``rna`` in its online form: the residual is the mean gradient of each interval between syncs, the iterate its
    last weights, before the outer rule. Keeps two arrays per interval."""
    return rule("online_rna", memory=memory, regularization=regularization)

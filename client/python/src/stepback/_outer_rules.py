"""Outer rules: what a sync makes of the slow weights and the mean of what the workers did."""

from __future__ import annotations

from typing import Optional

from stepback._rules import RuleSpec, rule


def lookahead(alpha: float = 0.5) -> RuleSpec:
    """The slow weights move a share alpha towards the fast ones (Zhang et al. 2019)."""
    return rule("lookahead", alpha=alpha)


def adaptive_lookahead(alpha: float = 0.5, alpha_low: float = 0.2) -> RuleSpec:
    """Lookahead whose step size minimises a quadratic model of the loss between slow and fast weights (Zhang et
    al. 2019, proposition 1), for inner rules with a second moment; ``alpha`` where that says nothing."""
    return rule("adaptive_lookahead", alpha=alpha, alpha_low=alpha_low)


def average(alpha: float = 1.0) -> RuleSpec:
    """A share alpha of the mean delta; 1 is FedAvg."""
    return rule("average", alpha=alpha)


def fedavg() -> RuleSpec:
    """The mean of the workers' weights (McMahan et al. 2017)."""
    return average(1.0)


def local_sgd() -> RuleSpec:
    """The mean of the workers' weights (Stich 2019)."""
    return average(1.0)


def fedbuff(alpha: float = 1.0) -> RuleSpec:
    """FedBuff's outer step (Nguyen et al. 2022), for ``buffered(10, staleness=staleness("polynomial"))``."""
    return average(alpha)


def fedasync(alpha: float = 0.6) -> RuleSpec:
    """FedAsync (Xie et al. 2019), for ``asynchronous(staleness=staleness("polynomial"))``: ``push_weights``
    sends the weights themselves, which mix with the slow ones by alpha x the staleness weight."""
    return rule("fed_async", alpha=alpha)


def heavy_ball(lr: float = 1.0, momentum: float = 0.9) -> RuleSpec:
    """Heavy-ball momentum on the mean delta (FedAvgM)."""
    return rule("heavy_ball", lr=lr, momentum=momentum)


def nesterov(lr: float = 0.7, momentum: float = 0.9) -> RuleSpec:
    """Nesterov momentum on the mean delta."""
    return rule("nesterov", lr=lr, momentum=momentum)


def diloco(lr: float = 0.7, momentum: float = 0.9) -> RuleSpec:
    """DiLoCo's outer optimizer: Nesterov with the paper's rates (Douillard et al. 2023), for H near 500."""
    return nesterov(lr, momentum)


def snoo(lr: float = 0.68, momentum: float = 0.37) -> RuleSpec:
    """SNOO's outer optimizer: Nesterov on one worker's own delta; the speed run's rates, for H near 28."""
    return nesterov(lr, momentum)


def fedavgm(lr: float = 1.0, momentum: float = 0.9) -> RuleSpec:
    """FedAvgM: heavy-ball momentum on the mean delta (Hsu et al. 2019)."""
    return heavy_ball(lr, momentum)


def fedadam(lr: float = 0.1, beta1: float = 0.9, beta2: float = 0.99, tau: float = 1e-3) -> RuleSpec:
    """FedAdam: Adam on the mean delta, without bias correction (Reddi et al. 2021)."""
    return rule("fed_adam", lr=lr, beta1=beta1, beta2=beta2, tau=tau)


def fedyogi(lr: float = 0.01, beta1: float = 0.9, beta2: float = 0.99, tau: float = 1e-3) -> RuleSpec:
    """FedYogi: Yogi on the mean delta (Reddi et al. 2021)."""
    return rule("fed_yogi", lr=lr, beta1=beta1, beta2=beta2, tau=tau)


def fedadagrad(lr: float = 0.1, beta1: float = 0.0, tau: float = 1e-3) -> RuleSpec:
    """FedAdagrad: Adagrad on the mean delta (Reddi et al. 2021)."""
    return rule("fed_adagrad", lr=lr, beta1=beta1, tau=tau)


def slowmo(lr: float = 1.0, momentum: float = 0.5, inner_lr: Optional[float] = None) -> RuleSpec:
    """SlowMo (Wang et al. 2020), for H near 48. ``inner_lr`` is the workers' learning rate, which may follow
    their schedule, counted in outer steps; without one the momentum is plain heavy ball.

    >>> slowmo(inner_lr=0.1).scheduled("inner_lr", "cosine", steps=100, min_factor=0.1).values["inner_lr"]
    0.1
    """
    values = {} if inner_lr is None else {"inner_lr": inner_lr}
    return rule("slowmo", lr=lr, momentum=momentum, **values)


def bmuf(lr: float = 1.0, momentum: float = 0.875) -> RuleSpec:
    """BMUF with classical block momentum (Chen and Huo 2016), for H near 50."""
    return rule("bmuf_cbm", lr=lr, momentum=momentum)


def bmuf_nbm(lr: float = 1.0, momentum: float = 0.875) -> RuleSpec:
    """BMUF with Nesterov block momentum (Chen and Huo 2016), for H near 50."""
    return nesterov(lr, momentum)


def delayed_nesterov(
    lr: float = 0.7, momentum: float = 0.9, *, workers: Optional[int] = None, spread: Optional[float] = None
) -> RuleSpec:
    """Delayed Nesterov (Liu et al. 2024), for ``rounds=asynchronous()``: the momentum learns of ``workers``
    pushes at a time. ``spread`` (c, at most 1 / workers) lets every push move by a share of the momentum.

    >>> delayed_nesterov(workers=4).values["delay"]
    4.0
    """
    values = {"delay": workers, "spread": spread}
    return rule(
        "delayed_nesterov", lr=lr, momentum=momentum, **{k: v for k, v in values.items() if v is not None}
    )

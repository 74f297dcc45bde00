"""Rules by name with their hyperparameters, and presets for those that every server has.

A preset only spells out names and defaults; the server checks values against its own table
(``server.list_rules()``), so ``rule("name", ...)`` reaches rules that this package has never heard of.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Dict, Iterable, Mapping, Optional, Tuple


@dataclass(frozen=True)
class Schedule:
    """A rate that changes with the step: value(t) = base value x factor(t), t from 0."""

    name: str
    values: Mapping[str, float] = field(default_factory=dict)


def schedule(name: str, **values: float) -> Schedule:
    """A schedule of the server by name.

    >>> schedule("cosine", steps=1000, warmup=50).values["warmup"]
    50.0
    """
    return Schedule(name, {key: float(value) for key, value in values.items()})


@dataclass(frozen=True)
class RuleSpec:
    """A rule by name; ``values`` are its hyperparameters."""

    name: str
    values: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    schedules: Mapping[str, Schedule] = field(default_factory=dict)

    def scheduled(self, hyper: str, schedule: str, **values: float) -> RuleSpec:
        """This rule with a schedule for one of its hyperparameters.

        >>> sgd(lr=0.1).scheduled("lr", "cosine", steps=1000).schedules["lr"].name
        'cosine'
        """
        schedules = {**self.schedules, hyper: Schedule(schedule, values)}
        return dataclasses.replace(self, schedules=schedules)


@dataclass(frozen=True)
class Group:
    """Tensors that share an inner rule and a learning-rate multiplier (torch's param_groups)."""

    name: str
    tensors: Tuple[str, ...]
    inner: Optional[RuleSpec] = None
    lr_scale: float = 1.0


def group(
    name: str, tensors: Iterable[str], inner: Optional[RuleSpec] = None, lr_scale: float = 1.0
) -> Group:
    """A group of trained tensors.

    >>> group("no_decay", ["bias"], inner=adamw(weight_decay=0)).tensors
    ('bias',)
    """
    return Group(name, tuple(tensors), inner, lr_scale)


def rule(name: str, **values: float) -> RuleSpec:
    """Any rule of the server by name.

    >>> rule("nesterov", lr=0.5)
    RuleSpec(name='nesterov', values={'lr': 0.5}, options={}, schedules={})
    """
    checked: Dict[str, float] = {key: float(value) for key, value in values.items()}
    return RuleSpec(name, checked)


def no_rule() -> RuleSpec:
    """No rule: as outer rule of a gradient model, no slow weights; as a group's inner rule, no training."""
    return RuleSpec("none")


# Inner rules.


def sgd(
    lr: float = 1e-3,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> RuleSpec:
    """torch.optim.SGD."""
    return rule(
        "sgd",
        lr=lr,
        momentum=momentum,
        dampening=dampening,
        weight_decay=weight_decay,
        nesterov=float(nesterov),
    )


def adam(
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
) -> RuleSpec:
    """torch.optim.Adam: weight decay joins the gradient."""
    return rule(
        "adam", lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay, amsgrad=float(amsgrad)
    )


def adamw(
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    amsgrad: bool = False,
) -> RuleSpec:
    """torch.optim.AdamW: decoupled weight decay."""
    return rule(
        "adamw", lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay, amsgrad=float(amsgrad)
    )


def adagrad(
    lr: float = 1e-2,
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    initial_accumulator_value: float = 0.0,
    eps: float = 1e-10,
) -> RuleSpec:
    """torch.optim.Adagrad (Duchi et al. 2011)."""
    return rule(
        "adagrad",
        lr=lr,
        lr_decay=lr_decay,
        weight_decay=weight_decay,
        initial_accumulator_value=initial_accumulator_value,
        eps=eps,
    )


def rmsprop(
    lr: float = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
) -> RuleSpec:
    """torch.optim.RMSprop (Tieleman and Hinton 2012); a centered variance is never below zero."""
    return rule(
        "rmsprop",
        lr=lr,
        alpha=alpha,
        eps=eps,
        weight_decay=weight_decay,
        momentum=momentum,
        centered=float(centered),
    )


def adadelta(lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0.0) -> RuleSpec:
    """torch.optim.Adadelta (Zeiler 2012)."""
    return rule("adadelta", lr=lr, rho=rho, eps=eps, weight_decay=weight_decay)


def nadam(
    lr: float = 2e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum_decay: float = 4e-3,
    decoupled_weight_decay: bool = False,
) -> RuleSpec:
    """torch.optim.NAdam of torch 2 (Dozat 2016)."""
    return rule(
        "nadam",
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        weight_decay=weight_decay,
        momentum_decay=momentum_decay,
        decoupled_weight_decay=float(decoupled_weight_decay),
    )


def radam(
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False,
) -> RuleSpec:
    """torch.optim.RAdam (Liu et al. 2020)."""
    return rule(
        "radam",
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        weight_decay=weight_decay,
        decoupled_weight_decay=float(decoupled_weight_decay),
    )


def lion(lr: float = 1e-4, beta1: float = 0.9, beta2: float = 0.99, weight_decay: float = 0.0) -> RuleSpec:
    """Lion: steps of the length lr along the sign of a moment (Chen et al. 2023)."""
    return rule("lion", lr=lr, beta1=beta1, beta2=beta2, weight_decay=weight_decay)


def adan(
    lr: float = 1e-3,
    beta1: float = 0.98,
    beta2: float = 0.92,
    beta3: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    no_prox: bool = False,
) -> RuleSpec:
    """Adan (Xie et al. 2022) with the authors' betas, which are one minus the paper's."""
    return rule(
        "adan",
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        beta3=beta3,
        eps=eps,
        weight_decay=weight_decay,
        no_prox=float(no_prox),
    )


def lamb(
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: float = 1e-2,
    always_adapt: bool = False,
) -> RuleSpec:
    """LAMB (You et al. 2020): each tensor's step is lr times the length of its weights."""
    return rule(
        "lamb",
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        weight_decay=weight_decay,
        always_adapt=float(always_adapt),
    )


def lars(
    lr: float = 1.0,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    trust_coeff: float = 1e-3,
    eps: float = 1e-8,
    nesterov: bool = False,
    trust_clip: bool = False,
    always_adapt: bool = False,
) -> RuleSpec:
    """LARS (You et al. 2017); ``trust_clip`` is LARC."""
    return rule(
        "lars",
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
        trust_coeff=trust_coeff,
        eps=eps,
        nesterov=float(nesterov),
        trust_clip=float(trust_clip),
        always_adapt=float(always_adapt),
    )


def adafactor(lr: float = 1e-2, d: float = 1.0, weight_decay: float = 0.0) -> RuleSpec:
    """torch.optim.Adafactor: second moments by rows and columns. Not on servers that compute on a GPU."""
    return rule("adafactor", lr=lr, d=d, weight_decay=weight_decay)


def muon(
    lr: float = 1e-3,
    momentum: float = 0.95,
    weight_decay: float = 0.1,
    nesterov: bool = True,
    match_rms_adamw: bool = False,
) -> RuleSpec:
    """torch.optim.Muon: matrices only, ``group`` gives other tensors a rule. Not on GPU servers."""
    return rule(
        "muon",
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
        nesterov=float(nesterov),
        match_rms_adamw=float(match_rms_adamw),
    )


# Inner rules that average by themselves: they go with no outer rule, trainers pull the weights, and
# ``pull(view="eval")`` and ``export`` give the average.


def asgd(
    lr: float = 1e-2,
    lambd: float = 1e-4,
    alpha: float = 0.75,
    t0: float = 1e6,
    weight_decay: float = 0.0,
) -> RuleSpec:
    """torch.optim.ASGD, single-tensor form (Polyak and Juditsky 1992): the average starts after t0 steps."""
    return rule("asgd", lr=lr, lambd=lambd, alpha=alpha, t0=t0, weight_decay=weight_decay)


def schedule_free_sgd(
    lr: float = 1.0,
    beta: float = 0.9,
    weight_decay: float = 0.0,
    warmup_steps: int = 0,
    r: float = 0.0,
    weight_lr_power: float = 2.0,
) -> RuleSpec:
    """Schedule-free SGD (Defazio et al. 2024)."""
    return rule(
        "schedule_free_sgd",
        lr=lr,
        beta=beta,
        weight_decay=weight_decay,
        warmup_steps=warmup_steps,
        r=r,
        weight_lr_power=weight_lr_power,
    )


def schedule_free_adamw(
    lr: float = 2.5e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    warmup_steps: int = 0,
    r: float = 0.0,
    weight_lr_power: float = 2.0,
) -> RuleSpec:
    """Schedule-free AdamW (Defazio et al. 2024)."""
    return rule(
        "schedule_free_adamw",
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        weight_decay=weight_decay,
        warmup_steps=warmup_steps,
        r=r,
        weight_lr_power=weight_lr_power,
    )


def gpa(
    lr: float = 1e-3,
    mu_x: float = 0.9967,
    mu_y: float = 0.7,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> RuleSpec:
    """Generalised primal averaging around AdamW (Defazio et al. 2025)."""
    return rule(
        "gpa", lr=lr, mu_x=mu_x, mu_y=mu_y, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay
    )


# Outer rules.


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


# Averages of the slow weights (``create_model(averages=...)``).


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

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


# Outer rules.


def lookahead(alpha: float = 0.5) -> RuleSpec:
    """The slow weights move a share alpha towards the fast ones (Zhang et al. 2019)."""
    return rule("lookahead", alpha=alpha)


def average(alpha: float = 1.0) -> RuleSpec:
    """A share alpha of the mean delta; 1 is FedAvg."""
    return rule("average", alpha=alpha)


def local_sgd() -> RuleSpec:
    """The mean of the workers' weights (Stich 2019)."""
    return average(1.0)


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

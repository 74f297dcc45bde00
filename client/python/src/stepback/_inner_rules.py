"""Inner rules: the optimizers that a server runs on gradients."""

from __future__ import annotations

from stepback._rules import RuleSpec, rule


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

"""Inner rules that average by themselves: they go with no outer rule, trainers pull the weights, and
``pull(view="eval")`` and ``export`` give the average."""

from __future__ import annotations

from stepback._rules import RuleSpec, rule


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

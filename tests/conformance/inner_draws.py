"""Random hyperparameters of every inner rule, and the torch optimizers with the same formulas."""
from kernels_c import torch


def log_uniform(rng, low, high):
    return float(10 ** rng.uniform(low, high))


def sometimes(rng, draw):
    return float(draw()) if rng.random() < 0.5 else 0.0


def betas(rng, *names):
    return {name: float(rng.uniform(0.5, 0.95) if name == "beta1" else rng.uniform(0.8, 0.9999)) for name in names}


def adaptive(rng, **more):
    return dict(lr=log_uniform(rng, -3, -1), eps=log_uniform(rng, -10, -4), **betas(rng, "beta1", "beta2"), **more)


def averaged(rng, **more):
    return dict(warmup_steps=sometimes(rng, lambda: rng.integers(1, 30)), r=sometimes(rng, lambda: rng.uniform(0, 2)),
                weight_lr_power=float(rng.choice([0.0, 2.0, rng.uniform(0, 3)])), **more)


def sgd(rng):
    momentum = sometimes(rng, lambda: rng.uniform(0.5, 0.99))
    nesterov = float(momentum > 0 and rng.random() < 0.5)
    dampening = 0.0 if nesterov else sometimes(rng, lambda: rng.uniform(0, 0.9))
    return dict(lr=log_uniform(rng, -3, -1), momentum=momentum, dampening=dampening, nesterov=nesterov)


def flag(rng):
    return float(rng.random() < 0.5)


# Hyperparameters but for the decay. The variance of centered rmsprop has to be well conditioned, so alpha is not small.
DRAWS = {
    "adadelta": lambda r: dict(lr=r.uniform(0.1, 2), rho=r.uniform(0.7, 0.99), eps=log_uniform(r, -8, -4)),
    "adagrad": lambda r: dict(lr=log_uniform(r, -3, -1), lr_decay=sometimes(r, lambda: r.uniform(0, 0.1)),
                              initial_accumulator_value=sometimes(r, r.random), eps=log_uniform(r, -10, -4)),
    "adam": lambda r: adaptive(r, amsgrad=flag(r)),
    "adamw": lambda r: adaptive(r, amsgrad=flag(r)),
    "adan": lambda r: adaptive(r, beta3=r.uniform(0.8, 0.999), no_prox=flag(r)),
    "asgd": lambda r: dict(lr=log_uniform(r, -3, -1), lambd=log_uniform(r, -4, -1), alpha=r.uniform(0.3, 1),
                           t0=float(r.choice([0, r.integers(1, 30), 1e6]))),
    "gpa": lambda r: adaptive(r, mu_x=sometimes(r, lambda: r.uniform(0.5, 0.9967)), mu_y=r.uniform(0, 1)),
    "lion": lambda r: dict(lr=log_uniform(r, -4, -2), **betas(r, "beta1", "beta2")),
    "nadam": lambda r: adaptive(r, momentum_decay=log_uniform(r, -3, -1), decoupled_weight_decay=flag(r)),
    "radam": lambda r: {**adaptive(r), "beta2": r.uniform(0.5, 0.9999)},
    "rmsprop": lambda r: dict(lr=log_uniform(r, -3, -1), alpha=r.uniform(0.8, 0.999), eps=log_uniform(r, -8, -4),
                              momentum=sometimes(r, lambda: r.uniform(0.3, 0.95)), centered=flag(r)),
    "schedule_free_adamw": lambda r: averaged(r, **adaptive(r)),
    "schedule_free_sgd": lambda r: averaged(r, lr=log_uniform(r, -2, 0), beta=r.uniform(0.5, 0.95)),
    "sgd": sgd,
}


# Those of torch 1.13 whose formulas are ours; its NAdam has an older one.
TORCH = {"adadelta": torch.optim.Adadelta, "adagrad": torch.optim.Adagrad, "adam": torch.optim.Adam,
         "adamw": torch.optim.AdamW, "asgd": torch.optim.ASGD, "radam": torch.optim.RAdam,
         "rmsprop": torch.optim.RMSprop, "sgd": torch.optim.SGD}


def torch_arguments(hypers):
    named = {name: bool(value) if name in ("nesterov", "amsgrad", "centered") else value
             for name, value in hypers.items()}
    if "beta1" in named:
        named["betas"] = (named.pop("beta1"), named.pop("beta2"))
    return named

"""A torch optimizer as rules of the server: exactly, or TypeError with the field that has no counterpart."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Tuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from stepback import _inner_rules
from stepback._rules import Group, RuleSpec

Fields = Mapping[str, Any]


def rule_of(optimizer: Optimizer, group: Fields, index: int) -> RuleSpec:
    """The rule of one param_group."""
    convert = _CONVERT.get(type(optimizer))
    if convert is None:
        raise TypeError(
            f"optimizer is {type(optimizer).__name__}, expected SGD, Adam or AdamW with mode='gradient'"
        )
    for field in ("maximize", "differentiable"):
        if group.get(field):
            raise TypeError(f"param_groups[{index}] has {field}=True, which the server's rules do not have")
    return convert(group)


def rules_of(optimizer: Optimizer, names: Mapping[Tensor, str]) -> Tuple[RuleSpec, List[Group]]:
    """The model's inner rule (the first param_group) and one group for each further one."""
    inner, *further = (rule_of(optimizer, group, i) for i, group in enumerate(optimizer.param_groups))
    members = [tuple(names[p] for p in group["params"]) for group in optimizer.param_groups]
    groups = [Group(group_name(i), members[i], rule) for i, rule in enumerate(further, start=1)]
    return inner, groups


def group_name(index: int) -> str:
    return f"group{index}"


def changed_settings(before: List[RuleSpec], now: List[RuleSpec]) -> Dict[str, float]:
    """Hyperparameters that differ, by the path under which the server's settings have them."""
    changed = {}
    for index, (old, new) in enumerate(zip(before, now)):
        prefix = "inner" if index == 0 else f"groups.{group_name(index)}"
        for hyper, value in new.values.items():
            if value != old.values[hyper]:
                changed[f"{prefix}.{hyper}"] = value
    return changed


def _sgd(group: Fields) -> RuleSpec:
    return _inner_rules.sgd(
        lr=float(group["lr"]),
        momentum=float(group["momentum"]),
        dampening=float(group["dampening"]),
        weight_decay=float(group["weight_decay"]),
        nesterov=bool(group["nesterov"]),
    )


def _adam_like(rule: Callable[..., RuleSpec], group: Fields) -> RuleSpec:
    beta1, beta2 = group["betas"]
    return rule(
        lr=float(group["lr"]),
        beta1=float(beta1),
        beta2=float(beta2),
        eps=float(group["eps"]),
        weight_decay=float(group["weight_decay"]),
        amsgrad=bool(group["amsgrad"]),
    )


def _adam(group: Fields) -> RuleSpec:
    decoupled = group.get("decoupled_weight_decay", False)  # a field of torch >= 2.7
    return _adam_like(_inner_rules.adamw if decoupled else _inner_rules.adam, group)


def _adamw(group: Fields) -> RuleSpec:
    return _adam_like(_inner_rules.adamw, group)


_CONVERT: Dict[type, Callable[[Fields], RuleSpec]] = {
    torch.optim.SGD: _sgd,
    torch.optim.Adam: _adam,
    torch.optim.AdamW: _adamw,
}

"""The state_dict hooks of torch >= 2.0, for an optimizer with a state_dict of its own."""

from __future__ import annotations

from typing import Any, Dict

from torch.optim import Optimizer

StateDict = Dict[str, Any]


def _hooks(optimizer: Optimizer, name: str) -> list[Any]:
    return list(getattr(optimizer, name, {}).values())


def before_state_dict(optimizer: Optimizer) -> None:
    for hook in _hooks(optimizer, "_optimizer_state_dict_pre_hooks"):
        hook(optimizer)


def after_state_dict(optimizer: Optimizer, state: StateDict) -> StateDict:
    for hook in _hooks(optimizer, "_optimizer_state_dict_post_hooks"):
        replaced = hook(optimizer, state)
        state = state if replaced is None else replaced
    return state


def before_load(optimizer: Optimizer, state: StateDict) -> StateDict:
    for hook in _hooks(optimizer, "_optimizer_load_state_dict_pre_hooks"):
        replaced = hook(optimizer, state)
        state = state if replaced is None else replaced
    return state


def after_load(optimizer: Optimizer) -> None:
    for hook in _hooks(optimizer, "_optimizer_load_state_dict_post_hooks"):
        hook(optimizer)

"""Rules by name with their hyperparameters, schedules and groups.

The functions for rules that every server has (``_inner_rules``, ``_self_averaging_rules``, ``_outer_rules``,
``_averages``) only spell out names and defaults; the server checks values against its own table
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

        >>> rule("sgd", lr=0.1).scheduled("lr", "cosine", steps=1000).schedules["lr"].name
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

    >>> group("no_decay", ["bias"], inner=rule("adamw", weight_decay=0)).tensors
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

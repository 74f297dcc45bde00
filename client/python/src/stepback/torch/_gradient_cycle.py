"""Lookahead with a server, mode "gradient": the server runs the inner optimizer and the sync."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping

import torch
from torch import Tensor

from stepback._rules import RuleSpec
from stepback.torch._cycle import Closure, Cycle
from stepback.torch._rule_of import changed_settings, rule_of
from stepback.torch._server_cycle import Seat, ServerCycle


class GradientCycle(ServerCycle):
    """Pushes gradients and receives the fast weights; holds no slow weights and no optimizer state."""

    def __init__(self, local: Cycle, seat: Seat) -> None:
        super().__init__(local, seat)
        self.slow.clear()
        self._rates = self._rules_now()
        self._client_rates = seat.model.info.labels.get("lr_source") == "client"
        self._pull()

    def step(self, closure: Closure) -> Any:
        self.cover()
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._follow_rates()
        gradients = {name: p.grad for p, name in self.seat.names.items() if p.grad is not None}
        self.seat.worker.step_gradient(gradients, into=self._parameters(), view="train")
        self.follow(self.seat.worker.settings)
        return loss

    def slow_now(self) -> Dict[Tensor, Tensor]:
        pulled = self.seat.model.pull(view="eval")
        return {p: torch.from_numpy(pulled[name]).to(p.device) for p, name in self.seat.names.items()}

    def state(self) -> Dict[str, Any]:
        version = self.seat.worker.version
        slow = self.slow_now()
        return {
            "phase": 0,
            "slow": {i: slow[parameter] for i, parameter in enumerate(self.seat.names)},
            "cached_momentum": {},
            "server": {"run": self.seat.model.name, "version": (version.term, version.counter)},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """The server has the state; training goes on from its weights."""
        self._pull()

    def _pull(self) -> None:
        self.seat.worker.pull(into=self._parameters(), view="train")
        self.follow(self.seat.worker.settings)

    def _parameters(self) -> Dict[str, Tensor]:
        return {name: parameter.detach() for parameter, name in self.seat.names.items()}

    def _rules_now(self) -> List[RuleSpec]:
        return [rule_of(self.inner, group, i) for i, group in enumerate(self.inner.param_groups)]

    def _follow_rates(self) -> None:
        """Sends what a scheduler has changed here, or refuses it when the rates are the server's."""
        now = self._rules_now()
        changed = changed_settings(self._rates, now)
        if not changed:
            return
        if not self._client_rates:
            path, value = next(iter(changed.items()))
            raise ValueError(
                f"{path} is {value:g} here, but model '{self.seat.model.name}' takes its rates from the "
                "server: create it with lr_source='client', or change it with model.update()"
            )
        self.seat.model.update(changed)
        self._rates = now

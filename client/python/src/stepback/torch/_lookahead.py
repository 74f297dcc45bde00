"""Lookahead as a torch optimizer: k steps forward with any inner optimizer, 1 step back."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple, Union

from torch import Tensor
from torch.optim import Optimizer

from stepback._model import Model
from stepback._rounds import Rounds
from stepback._server import Server
from stepback._worker import Worker
from stepback.torch import _hooks
from stepback.torch._cycle import Closure, Cycle, swap_in
from stepback.torch._inner_state import POLICIES
from stepback.torch._server_cycle import ServerCycle


class Lookahead(Optimizer):
    """Wraps ``optimizer`` in Lookahead (Zhang et al. 2019).

    Every ``la_steps`` inner steps the slow weights move a share ``la_alpha`` towards the fast ones, and the
    fast ones go back to them. Slow weights start as a copy of the parameters, syncs come after inner steps k,
    2k, ..., and every parameter takes part, with or without a gradient.

    Args:
        optimizer: the inner optimizer; it keeps its ``param_groups`` and ``state``, which are this
            optimizer's too.
        la_steps: inner steps per sync (k).
        la_alpha: share of the way from slow to fast weights; 1 is the inner optimizer alone.
        pullback_momentum: the inner optimizer's state at a sync: ``"none"`` keeps it, ``"reset"`` starts it
            over, ``"pullback"`` interpolates the first moments like the weights.
        server: a ``stepback.Server`` or its address. The server then owns the slow weights.
        run: the model's name on the server (also spelled ``model``); created when it is not there yet.
        named_parameters: ``module.named_parameters()``; needed with ``server``.
        mode: ``"delta"``: the inner optimizer stays here, the server merges; ``"gradient"``: the server runs
            it too.
        worker_id: identifies this worker; stable across its restarts. Default: host name and process id.
        rounds: how the server closes a round when this call creates the model (``stepback.sync()``, ...).
        lr_source: gradient mode. ``"server"``: the learning rates are the server's and must not change here;
            ``"client"``: a change here (a scheduler) is sent to the server before the next push.

    >>> import torch
    >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = Lookahead(torch.optim.SGD([weight], lr=0.25), la_steps=2, la_alpha=0.5)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (2 * weight).sum().backward()
    ...     _ = optimizer.step()
    >>> weight.item()  # 1 -> 0.5 -> 0, then half the way back to 1
    0.5
    """

    def __init__(
        self,
        optimizer: Optimizer,
        la_steps: int = 5,
        la_alpha: float = 0.5,
        pullback_momentum: str = "none",
        *,
        server: Union[Server, str, None] = None,
        run: Optional[str] = None,
        model: Optional[str] = None,
        named_parameters: Optional[Iterable[Tuple[str, Tensor]]] = None,
        mode: str = "delta",
        worker_id: Optional[str] = None,
        rounds: Optional[Rounds] = None,
        lr_source: str = "server",
    ) -> None:
        _check(optimizer, la_steps, la_alpha, pullback_momentum)
        self._evaluating = False
        self._cycle = Cycle(optimizer, la_steps, la_alpha, pullback_momentum)
        # The base class would overwrite param_groups and state; they are the inner optimizer's (the
        # properties below).
        self._constructing = True
        super().__init__(optimizer.param_groups, optimizer.defaults)
        self._constructing = False
        if server is not None:
            from stepback.torch._attach import attach

            self._cycle = attach(
                self._cycle,
                server=server,
                run=run if run is not None else model,
                named_parameters=named_parameters,
                mode=mode,
                worker_id=worker_id,
                rounds=rounds,
                lr_source=lr_source,
            )
        elif run is not None or model is not None:
            raise TypeError("run= names a model on a server: give server= as well")

    @property
    def optimizer(self) -> Optimizer:
        """The inner optimizer."""
        return self._cycle.inner

    @property
    def la_steps(self) -> int:
        """Inner steps per sync; may be changed at any time. With a server the server's setting wins."""
        return self._cycle.steps

    @la_steps.setter
    def la_steps(self, value: int) -> None:
        _check(self.optimizer, value, self.la_alpha, self.pullback_momentum)
        self._cycle.steps = value

    @property
    def la_alpha(self) -> float:
        """Share of the way from slow to fast weights at a sync. With a server the server's setting wins."""
        return self._cycle.alpha

    @la_alpha.setter
    def la_alpha(self, value: float) -> None:
        _check(self.optimizer, self.la_steps, value, self.pullback_momentum)
        self._cycle.alpha = value

    @property
    def pullback_momentum(self) -> str:
        return self._cycle.policy

    @property
    def worker(self) -> Optional[Worker]:
        """The session, with a server."""
        return self._cycle.seat.worker if isinstance(self._cycle, ServerCycle) else None

    @property
    def model(self) -> Optional[Model]:
        """The model, with a server."""
        return self._cycle.seat.model if isinstance(self._cycle, ServerCycle) else None

    @property
    def param_groups(self) -> List[Dict[str, Any]]:
        return self.optimizer.param_groups

    @param_groups.setter
    def param_groups(self, value: List[Dict[str, Any]]) -> None:
        if not self._constructing:
            self.optimizer.param_groups = value

    @property
    def state(self) -> Dict[Any, Any]:
        return self.optimizer.state

    @state.setter
    def state(self, value: Dict[Any, Any]) -> None:
        if not self._constructing:
            self.optimizer.state = value

    @property
    def defaults(self) -> Dict[str, Any]:
        return self.optimizer.defaults

    @defaults.setter
    def defaults(self, value: Dict[str, Any]) -> None:
        if not self._constructing:
            self.optimizer.defaults = value

    def step(self, closure: Closure = None) -> Any:
        """One inner step, and a sync after every ``la_steps`` of them. Returns the closure's loss."""
        if self._evaluating:
            raise RuntimeError("step() inside slow_weights(): leave the block first")
        return self._cycle.step(closure)

    def zero_grad(self, set_to_none: Optional[bool] = None) -> None:
        if set_to_none is None:  # torch's default differs between versions
            self.optimizer.zero_grad()
        else:
            self.optimizer.zero_grad(set_to_none=set_to_none)

    def add_param_group(self, param_group: Dict[str, Any]) -> None:
        """Adds parameters; their slow weights start at their present values."""
        if not self._constructing:
            self.optimizer.add_param_group(param_group)
            self._cycle.cover()

    @contextmanager
    def slow_weights(self) -> Iterator[None]:
        """The parameters hold the slow weights inside the block, the fast ones after it."""
        if self._evaluating:
            raise RuntimeError(
                "slow_weights() inside slow_weights(): the parameters are the slow weights already"
            )
        fast = swap_in(self._cycle.slow_now())
        self._evaluating = True
        try:
            yield
        finally:
            swap_in(fast)
            self._evaluating = False

    def state_dict(self) -> Dict[str, Any]:
        """The inner optimizer's, plus ``"lookahead"``: slow weights, phase, remembered momentum, settings."""
        _hooks.before_state_dict(self)
        state = dict(self.optimizer.state_dict())
        state["lookahead"] = {
            "la_steps": self.la_steps,
            "la_alpha": self.la_alpha,
            "pullback_momentum": self.pullback_momentum,
            **self._cycle.state(),
        }
        return _hooks.after_state_dict(self, state)

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Continues exactly where ``state_dict()`` was taken (load the module's weights as well)."""
        inner = _hooks.before_load(self, dict(state_dict))
        own = inner.pop("lookahead", None)
        if own is None:
            raise ValueError(
                "state_dict has no 'lookahead' entry: it is the inner optimizer's, load it there"
            )
        if own["pullback_momentum"] != self.pullback_momentum:
            raise ValueError(
                f"state_dict has pullback_momentum={own['pullback_momentum']!r}, "
                f"expected {self.pullback_momentum!r}"
            )
        self._cycle.check(own)
        self.optimizer.load_state_dict(inner)
        self.la_steps, self.la_alpha = own["la_steps"], own["la_alpha"]
        self._cycle.load(own)
        _hooks.after_load(self)

    def close(self) -> None:
        """Leaves the server, where there is one; the round no longer waits for this worker."""
        self._cycle.close()

    def __getstate__(self) -> Dict[str, Any]:
        if type(self._cycle) is not Cycle:
            raise TypeError("a Lookahead with server= holds a connection: save its state_dict() instead")
        return {"_cycle": self._cycle, "_evaluating": False, "_constructing": False}

    def __repr__(self) -> str:
        return (
            f"Lookahead(la_steps={self.la_steps}, la_alpha={self.la_alpha}, "
            f"pullback_momentum={self.pullback_momentum!r}, optimizer={self.optimizer!r})"
        )


def _check(optimizer: Any, la_steps: Any, la_alpha: Any, policy: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer is {type(optimizer).__name__}, expected a torch.optim.Optimizer")
    if isinstance(la_steps, bool) or not isinstance(la_steps, int) or la_steps < 1:
        raise ValueError(f"la_steps is {la_steps!r}, expected an integer of at least 1")
    if not 0 <= la_alpha <= 1:
        raise ValueError(f"la_alpha is {la_alpha!r}, expected a number in [0, 1]")
    if policy not in POLICIES:
        raise ValueError(f"pullback_momentum is {policy!r}, expected one of {', '.join(POLICIES)}")

"""How the torch adapters find, create and join a model."""

from __future__ import annotations

import functools
from typing import Callable, Dict, Iterable, Mapping, Optional, Tuple, Union

from torch import Tensor

from stepback._errors import NotFoundError
from stepback._identity import default_worker_id
from stepback._model import Model
from stepback._outer_rules import average, lookahead
from stepback._rounds import Rounds
from stepback._server import Server, connect
from stepback.torch._cycle import Cycle
from stepback.torch._delta_cycle import DeltaCycle
from stepback.torch._gradient_cycle import GradientCycle
from stepback.torch._rule_of import rules_of
from stepback.torch._server_cycle import Seat
from stepback.torch._slow import parameters_of

_INNER_STATE = {"none": "keep", "reset": "reset", "pullback": "pullback"}


def find_or_create(server: Server, run: str, create: Callable[[], Model]) -> Model:
    """The model of that name, whose settings then hold; or a new one."""
    try:
        return server.model(run)
    except NotFoundError:
        return create()


def check_table(model: Model, weights: Mapping[str, Tensor], mode: str) -> None:
    """Raises ValueError unless the model takes these tensors in this mode."""
    if model.info.mode != mode:
        raise ValueError(f"model '{model.name}' is in mode '{model.info.mode}', expected '{mode}'")
    theirs = {info.name: info.shape for info in model.tensors}
    ours = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in sorted(theirs.keys() ^ ours.keys()):
        where = "only on the server" if name in theirs else "only in this process"
        raise ValueError(f"model '{model.name}': tensor '{name}' is {where}")
    for name, shape in ours.items():
        if theirs[name] != shape:
            raise ValueError(
                f"model '{model.name}': tensor '{name}' has shape {shape}, expected {theirs[name]}"
            )


def open_server(server: Union[Server, str]) -> Tuple[Server, bool]:
    """The connection, and whether it is the adapter's own to close."""
    return (connect(server), True) if isinstance(server, str) else (server, False)


def attach(
    cycle: Cycle,
    *,
    server: Union[Server, str],
    run: Optional[str],
    named_parameters: Optional[Iterable[Tuple[str, Tensor]]],
    mode: str,
    worker_id: Optional[str],
    rounds: Optional[Rounds],
    lr_source: str,
) -> Cycle:
    """The cycle with the slow weights (delta) or the whole optimizer (gradient) on the server."""
    if mode not in ("delta", "gradient"):
        raise ValueError(f"mode is {mode!r}, expected 'delta' or 'gradient'")
    if lr_source not in ("server", "client"):
        raise ValueError(f"lr_source is {lr_source!r}, expected 'server' or 'client'")
    if run is None:
        raise TypeError("server= needs run=, the model's name")
    names = _names_of(cycle, named_parameters)
    weights = {name: parameter.detach() for parameter, name in names.items()}
    connection, owned = open_server(server)
    make = _create_delta if mode == "delta" else _create_gradient
    create = functools.partial(make, connection, run, cycle, names, rounds, lr_source)
    try:
        model = find_or_create(connection, run, create)
        check_table(model, weights, mode)
        worker = model.join(worker_id or default_worker_id())
    except BaseException:
        if owned:
            connection.close()
        raise
    seat = Seat(connection if owned else None, model, worker, names)
    return DeltaCycle(cycle, seat) if mode == "delta" else GradientCycle(cycle, seat)


def _names_of(cycle: Cycle, named_parameters: Optional[Iterable[Tuple[str, Tensor]]]) -> Dict[Tensor, str]:
    """Parameter -> name in the optimizer's order; tied parameters have their first name."""
    if named_parameters is None:
        raise TypeError("server= needs named_parameters=module.named_parameters()")
    known: Dict[Tensor, str] = {}
    for name, parameter in named_parameters:
        known.setdefault(parameter, name)
    names = {}
    for i, parameter in enumerate(parameters_of(cycle.inner)):
        if parameter not in known:
            raise ValueError(f"parameter {i} of the optimizer is not among named_parameters")
        names[parameter] = known[parameter]
    return names


def _create_delta(
    server: Server,
    run: str,
    cycle: Cycle,
    names: Mapping[Tensor, str],
    rounds: Optional[Rounds],
    lr_source: str,
) -> Model:
    return server.create_model(
        run,
        {name: parameter.detach() for parameter, name in names.items()},
        mode="delta",
        outer=average(cycle.alpha),
        sync_period=cycle.steps,
        rounds=rounds,
    )


def _create_gradient(
    server: Server,
    run: str,
    cycle: Cycle,
    names: Mapping[Tensor, str],
    rounds: Optional[Rounds],
    lr_source: str,
) -> Model:
    if cycle.inner.state:
        raise ValueError(
            "the optimizer has taken steps already: the server's state starts new with mode='gradient'"
        )
    inner, groups = rules_of(cycle.inner, names)
    return server.create_model(
        run,
        {name: parameter.detach() for parameter, name in names.items()},
        mode="gradient",
        inner=inner,
        groups=groups,
        outer=lookahead(cycle.alpha),
        sync_period=cycle.steps,
        inner_state=_INNER_STATE[cycle.policy],
        rounds=rounds,
        labels={"lr_source": lr_source},
    )

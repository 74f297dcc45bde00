"""A connection to a server."""

from __future__ import annotations

import weakref
from types import TracebackType
from typing import Any, Dict, Iterable, List, Mapping, Optional, Type

from stepback import _transport
from stepback._arrays import describe, to_core
from stepback._clip import Clip
from stepback._quarantine import Quarantine
from stepback._errors import InvalidArgumentError
from stepback._fragments import Fragments
from stepback._model import Model
from stepback._rounds import Rounds
from stepback._rules import Group, RuleSpec, Schedule
from stepback._transport import Arrays, ModelTransport, ServerTransport
from stepback._types import TLS, Definition, ModelInfo, RuleList, ServerInfo, SessionInfo, TensorInfo
from stepback._worker import Worker


def connect(
    address: str = "localhost:7400",
    *,
    tls: Optional[TLS] = None,
    insecure: bool = False,
    channels: int = 1,
    connect_timeout: float = 10.0,
    control_timeout: float = 10.0,
    give_up_after: float = 600.0,
    backoff_max: float = 5.0,
    chunk_bytes: int = 1 << 20,
) -> Server:
    """Connects to a server and waits until it answers.

    Args:
        address: ``"host:port"``, optionally with ``stepback://`` before it, or ``"unix:/path"``.
        tls: certificates; also used without when the address is not a loopback one and ``insecure`` is not
            set.
        insecure: plain text to another host.
        channels: TCP connections shared by pulls and model transfers; each worker has one of its own.
        connect_timeout: seconds to wait for the server here.
        control_timeout: seconds for each small call.
        give_up_after: seconds that a call goes on trying while the server cannot be reached.
        backoff_max: longest pause in seconds between attempts while the server cannot be reached.
        chunk_bytes: size of the pieces in which tensors travel.

    ::

        with stepback.connect("localhost:7400") as server:
            model = server.create_model("lm", weights, outer=stepback.diloco(),
            rounds=stepback.sync(quorum=2)) with model.join("worker-0") as worker:
                weights = worker.pull()
                for _ in range(rounds):
                    weights = worker.step(train(weights))
    """
    options: Dict[str, Any] = {
        "insecure": insecure,
        "channels": channels,
        "connect_timeout_ms": round(connect_timeout * 1000),
        "control_timeout_ms": round(control_timeout * 1000),
        "give_up_after_ms": round(give_up_after * 1000),
        "backoff_max_ms": max(1, round(backoff_max * 1000)),
        "chunk_bytes": chunk_bytes,
    }
    plain = address[len("stepback://") :] if address.startswith("stepback://") else address
    return Server(_transport.connect(plain, tls, options), plain)


class Server:
    """A connection; ``connect`` makes it. Leaving the ``with`` block closes every worker that joined it."""

    def __init__(self, core: ServerTransport, address: str) -> None:
        self._open: Optional[ServerTransport] = core
        self._workers: weakref.WeakSet[Worker] = weakref.WeakSet()
        self.address = address

    def create_model(
        self,
        name: str,
        weights: Mapping[str, Any],
        *,
        mode: str = "delta",
        inner: Optional[RuleSpec] = None,
        outer: Optional[RuleSpec] = None,
        rounds: Optional[Rounds] = None,
        clip: Optional[Clip] = None,
        sync_period: int = 0,
        inner_state: str = "keep",
        groups: Iterable[Group] = (),
        roles: Optional[Mapping[str, str]] = None,
        zeros: bool = False,
        durability: str = "round",
        snapshot_interval_seconds: float = 0.0,
        lease_seconds: float = 0.0,
        staging_bytes: int = 0,
        max_live_versions: int = 0,
        description: str = "",
        labels: Optional[Mapping[str, str]] = None,
        finish_after_steps: int = 0,
        finish_after_samples: int = 0,
        averages: Optional[Mapping[str, RuleSpec]] = None,
        codec: str = "f32",
        sync_period_schedule: Optional[Schedule] = None,
        fragments: Optional[Fragments] = None,
        expected_push_bytes_per_s: float = 0.0,
        quarantine: Optional[Quarantine] = None,
    ) -> Model:
        """Creates a model with these weights, or joins the one that is there with the same definition.

        Args:
            weights: arrays by name; their order is the wire order.
            mode: ``"delta"``: workers train on their own between rounds; ``"gradient"``: the server runs
                ``inner``.
            inner: gradient mode: the optimizer (``stepback.adamw(...)``); default SGD.
            outer: default ``lookahead()`` in gradient mode, ``nesterov()`` in delta mode; none beside an inner
                rule that averages by itself (``asgd``, ``schedule_free_sgd``, ``schedule_free_adamw``, ``gpa``).
            rounds: ``stepback.sync()`` (default), ``asynchronous()`` or ``buffered()``.
            clip: bounds of the mean gradient or delta (``stepback.clip(global_norm=1.0)``); default none.
            sync_period: gradient mode: inner steps per outer step (0: 5); delta mode: told to the workers (0:
                theirs).
            sync_period_schedule: ``sync_period`` by outer step (``stepback.schedule("linear", ...)``).
            inner_state: the inner optimizer's state at a sync: ``"keep"``, ``"reset"`` or ``"pullback"``.
            groups: tensors with an inner rule or a learning rate of their own (``stepback.group``).
            roles: by name: ``"trained"``, ``"averaged"``, ``"carried"``, ``"frozen"``. Default: floats are
                trained, other types carried.
            zeros: start at zero; only names, shapes and dtypes of ``weights`` count.
            durability: ``"volatile"``, ``"round"`` or ``"push"``.
            expected_push_bytes_per_s: what all workers together will push, on the wire; a server whose disk cannot
                take it refuses a model of durability ``"push"``. 0: not said.
            finish_after_steps: the model is ``finished`` after so many steps; 0: never.
            averages: of the slow weights, by name: ``{"ema": stepback.ema(0.999)}``, at most 4; pulled as view
                ``"average:ema"``.
            quarantine: when a worker whose pushes are not finite is thrown out (``stepback.quarantine()``).
            fragments: delta mode: parts that sync one after the other (``stepback.fragments(8)``); default: the
                model syncs as a whole.

        The other arguments are the server's settings of the same names (docs/python.md).
        """
        chosen = dict(roles or {})
        tensors = tuple(describe(key, value, chosen.pop(key, None)) for key, value in weights.items())
        if chosen:
            raise InvalidArgumentError(f"roles names '{min(chosen)}', which is not among the weights")
        definition = Definition(
            name=name,
            tensors=tensors,
            groups=tuple(groups),
            mode=mode,
            inner=inner,
            outer=outer,
            sync_period=sync_period,
            inner_state=inner_state,
            rounds=rounds if rounds is not None else Rounds(),
            clip=clip if clip is not None else Clip(),
            durability=durability,
            snapshot_interval_seconds=snapshot_interval_seconds,
            lease_seconds=lease_seconds,
            staging_bytes=staging_bytes,
            max_live_versions=max_live_versions,
            description=description,
            labels=dict(labels or {}),
            finish_after_steps=finish_after_steps,
            finish_after_samples=finish_after_samples,
            averages=dict(averages or {}),
            sync_period_schedule=sync_period_schedule,
            fragments=fragments,
            expected_push_bytes_per_s=expected_push_bytes_per_s,
            quarantine=quarantine if quarantine is not None else Quarantine(),
        )
        return self._model(self._core.create_model(definition, _initial(tensors, weights, zeros), codec))

    def model(self, name: str) -> Model:
        """A model that is there already."""
        return self._model(self._core.open_model(name))

    def list_models(self) -> List[ModelInfo]:
        """All models, without their tensor tables."""
        return self._core.list_models()

    def delete_model(self, name: str) -> None:
        self._core.delete_model(name)

    def info(self) -> ServerInfo:
        return self._core.info()

    def list_rules(self) -> RuleList:
        """Every rule with its hyperparameters, and every codec: the tables that the server checks against."""
        return self._core.list_rules()

    def list_sessions(self, model: str = "") -> List[SessionInfo]:
        """Sessions of one model, or of all."""
        return self._core.list_sessions(model)

    def evict_session(self, model: str, worker_id: str) -> None:
        """Ends a session; its worker gets FencedError until it joins again."""
        self._core.evict_session(model, worker_id)

    def set_log_level(self, level: str) -> str:
        """Returns the previous level."""
        return self._core.set_log_level(level)

    def drain(self) -> None:
        """No new sessions and pushes; snapshots are written; reads go on."""
        self._core.drain()

    def check_health(self, service: str = "") -> str:
        """``"SERVING"`` or not, as the standard health service says."""
        return self._core.check_health(service)

    def close(self) -> None:
        """Leaves every model joined through this connection and drops it."""
        workers, self._open = list(self._workers), None
        for worker in workers:
            worker.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<stepback.Server {self.address}{'' if self._open else ' closed'}>"

    @property
    def _core(self) -> ServerTransport:
        if self._open is None:
            raise RuntimeError(f"the connection to {self.address} is closed")
        return self._open

    def _model(self, core: ModelTransport) -> Model:
        return Model(self._core, core, self._workers.add)


def _initial(tensors: Iterable[TensorInfo], weights: Mapping[str, Any], zeros: bool) -> Arrays:
    return [] if zeros else [to_core(info, weights[info.name]) for info in tensors]

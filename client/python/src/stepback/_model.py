"""A model on a server."""

from __future__ import annotations

from typing import Any, Callable, List, Mapping, Optional, Sequence, Tuple

from stepback._fragments import names_of
from stepback._transport import ModelTransport, Range, ServerTransport
from stepback._types import ModelInfo, SessionInfo, SnapshotInfo, TensorInfo, Version, VersionEvent
from stepback._weights import Sinks, Weights
from stepback._worker import Into, Worker, milliseconds


class Model:
    """A handle; ``Server.create_model`` and ``Server.model`` make them. Any thread may use it."""

    def __init__(
        self, server: ServerTransport, core: ModelTransport, on_join: Callable[[Worker], None]
    ) -> None:
        self._server = server
        self._core = core
        self._on_join = on_join

    @property
    def name(self) -> str:
        return self._core.name

    @property
    def tensors(self) -> Tuple[TensorInfo, ...]:
        """The tensor table, in wire order."""
        return self._core.tensors

    @property
    def created(self) -> bool:
        """False when ``create_model`` found the model there; its weights are the first creator's then."""
        return self._core.created

    @property
    def info(self) -> ModelInfo:
        """As of the call that made this handle; ``describe`` asks again."""
        return self._core.info

    def join(
        self,
        worker_id: str,
        *,
        rank: int = 0,
        ranks: int = 1,
        ranges: Sequence[Range] = (),
        pull_ranges_only: bool = False,
        role: str = "trainer",
        push_codec: str = "f32",
        pull_codec: str = "f32",
        difference: str = "",
        error_feedback: bool = False,
        error_feedback_decay: float = 1.0,
        replay_bytes_max: int = 0,
        max_in_flight: int = 1,
        heartbeat_interval: float = 0.0,
    ) -> Worker:
        """Opens a session.

        Args:
            worker_id: identifies the worker for exactly-once; stable across its restarts.
            rank: of ``ranks`` processes of one worker (a data-parallel replica). Each pushes its part of one
                push; rank 0 opens the session and the others attach to it.
            ranges: (first element, count) of what this rank pushes; default: an even split.
            pull_ranges_only: pulls and steps bring ``ranges`` only (sharded trainers).
            role: ``"trainer"``, or ``"reader"``, which rounds never wait for.
            push_codec: wire form of pushes: ``"f32"``, ``"bf16"``, ``"int8"``, ``"e3m0"``...
                (``server.rules().codecs``).
            pull_codec: wire form of pulls, chosen on its own.
            difference: pulls and steps bring what has changed since the last one, where that is less than
                everything: ``"lossless_bf16"`` (the weights are those of ``pull_codec="bf16"``, bit for bit) or a
                codec (within one rounding of the weights, and the same bits for every worker). A program that
                only reads joins as ``role="reader"`` for it.
            error_feedback: adds what ``push_codec`` lost of earlier pushes to the next one (delta mode). The
                residual lives in this worker: 8 bytes per element pushed.
            error_feedback_decay: share of the residual that is added, 0..1.
            replay_bytes_max: bytes of pushes kept until they are on the server's disk, those in flight included;
                0: ``max_in_flight`` + 1 pushes, at least 64 MiB. The last push that fits asks the server to write
                soon; a push before that is done waits for it.
            max_in_flight: pushes of ``push_async`` that may be on their way at once, 1 to 5. Above 1 not with several
                ranks and not with ``error_feedback``.
            heartbeat_interval: seconds; 0: a third of the lease.
        """
        options = {
            "rank": rank,
            "ranks": ranks,
            "ranges": list(ranges),
            "pull_ranges_only": pull_ranges_only,
            "role": role,
            "push_codec": push_codec,
            "pull_codec": pull_codec,
            "difference": difference,
            "error_feedback": error_feedback,
            "error_feedback_decay": error_feedback_decay,
            "replay_bytes_max": replay_bytes_max,
            "max_in_flight": max_in_flight,
            "heartbeat_interval_ms": round(heartbeat_interval * 1000),
        }
        worker = Worker(
            self._core.join(worker_id, options), self.name, self.tensors, self._core.info.fragments
        )
        self._on_join(worker)
        return worker

    def pull(
        self,
        *,
        view: str = "",
        into: Into = None,
        since: Optional[Version] = None,
        wait: bool = False,
        codec: str = "",
        fragment: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> Weights:
        """Reads a version without a session. With ``since`` not older than the newest, empty:
        ``info.modified`` says so.

        ``wait`` waits until there is a version newer than ``since``. ``view`` is ``"eval"`` (slow weights),
        ``"train"`` (fast ones) or ``"average:NAME"``, which shows the slow weights until it has a sample. With
        ``fragment`` only its tensors come, and ``since`` looks at its version.
        """
        sinks = Sinks(self.name, self.tensors, into, self._tensors_of(fragment))
        options = {
            "view": view,
            "since": since,
            "wait": wait,
            "codec": codec,
            "fragment": fragment,
            "timeout_ms": milliseconds(timeout),
        }
        info = self._core.pull(sinks.arrays, options)
        return Weights(sinks.finish() if info.modified else {}, info)

    def _tensors_of(self, fragment: Optional[int]) -> Optional[List[TensorInfo]]:
        known = self._core.info.fragments
        if fragment is None or not 0 <= fragment < len(known):  # the core refuses those that there are not
            return None
        names = names_of(known[fragment], self.tensors)
        return [info for info in self.tensors if info.name in names]

    def describe(self, *, state_hash: bool = False) -> ModelInfo:
        """The model as the server sees it now. ``state_hash`` reads all state once."""
        return self._server.describe_model(self.name, state_hash=state_hash, tensors=True)

    def update(self, values: Mapping[str, float], *, expected_settings_version: int = 0) -> Version:
        """Changes settings by dotted path (``{"outer.lr": 0.5}``); returns the first version with them."""
        return self._server.update_model(self.name, dict(values), expected_settings_version)

    def watch(self, on_change: Callable[[VersionEvent], Optional[bool]]) -> None:
        """Calls ``on_change`` with the version now and after every change, until it returns False."""
        self._core.watch(lambda event: on_change(event) is not False)

    def report(self, version: Version, **values: float) -> None:
        """Evaluations of the slow weights, shown as gauges."""
        self._core.report_metrics(version, {name: float(value) for name, value in values.items()})

    def sessions(self) -> List[SessionInfo]:
        return self._server.list_sessions(self.name)

    def save_snapshot(self, label: str = "") -> SnapshotInfo:
        """Returns when the published version is on the server's disk."""
        return self._server.save_snapshot(self.name, label)

    def snapshots(self) -> List[SnapshotInfo]:
        return self._server.list_snapshots(self.name)

    def restore_snapshot(self, label: str = "", *, generation: int = 0) -> ModelInfo:
        """Goes back to a snapshot; workers are told, pull, and go on from it."""
        return self._server.restore_snapshot(self.name, label, generation)

    def flush(self) -> Version:
        """Returns when every push acknowledged before the call is on the server's disk."""
        return self._server.flush(self.name)

    def export(self, path: Any, *, view: str = "") -> Version:
        """Writes one version as a safetensors file, aside and renamed."""
        return self._server.export_model(self.name, str(path), view)

    def import_weights(self, path: Any) -> ModelInfo:
        """Replaces the weights by those of a safetensors file with the same names, shapes and dtypes."""
        return self._server.import_model(self.name, str(path))

    def delete(self) -> None:
        """Removes the model and its snapshots from the server."""
        self._server.delete_model(self.name)

    def __repr__(self) -> str:
        return f"<stepback.Model '{self.name}'>"

"""One worker's place in a model: pull, train, step."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import (
    Any,
    Collection,
    Dict,
    Iterable,
    List,
    Mapping,
    MutableMapping,
    Optional,
    Sequence,
    Tuple,
    Type,
)

from stepback._errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from stepback._flights import Flights
from stepback._fragments import FragmentInfo, names_of
from stepback._push_future import PushFuture
from stepback._transport import WorkerTransport
from stepback._types import Health, PushResult, Settings, Statistics, StepResult, TensorInfo, Version
from stepback._weights import Sinks, Weights, collect, refuse_unknown

Into = Optional[MutableMapping[str, Any]]


class Worker:
    """A session. ``Model.join`` makes workers; leaving the ``with`` block leaves the model.

    The worker remembers the weights of its last pull or step as its base and forms base - theta itself:
    callers hand over weights or gradients, never differences. Calls outlive broken connections and server
    restarts. When the server cannot merge a push (its base too old, the model rolled back), the step still
    brings the newest weights, its outcome is "resynced", and training goes on from them.

    One data call at a time, beside up to ``max_in_flight`` pushes of ``push_async``; ``cancel`` and the properties
    from any thread. The interpreter's lock is free during calls.
    """

    def __init__(
        self,
        core: WorkerTransport,
        model: str,
        tensors: Sequence[TensorInfo],
        fragments: Sequence[FragmentInfo] = (),
    ) -> None:
        self._core = core
        self._model = model
        self._tensors = tensors
        self._fragments = tuple(fragments)
        self._fragment_names = [names_of(fragment, tensors) for fragment in fragments]
        self._flights = Flights()
        self.last_step: Optional[StepResult] = None
        self.last_push: Optional[PushResult] = None

    def pull(
        self,
        *,
        into: Into = None,
        view: str = "",
        fragment: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> Weights:
        """Receives the newest version, which becomes the base unless the view is an average.

        Args:
            fragment: only its tensors.
            into: arrays or tensors by name to write to instead of new ones; names left out are not received.
            view: ``"eval"`` (slow weights, or the inner rule's own average), ``"train"`` (fast ones) or
                ``"average:NAME"`` (which leaves the base as it is); default: what the model trains on.
            timeout: seconds; None: as long as the connection's ``give_up_after`` allows.
        """
        sinks = self._sinks(into, fragment)
        info = self._core.pull(sinks.arrays, view=view, fragment=fragment, timeout_ms=milliseconds(timeout))
        return Weights(sinks.finish(), info)

    def step(
        self,
        weights: Mapping[str, Any],
        *,
        samples: int = 1,
        local_steps: int = 1,
        health: Optional[Health] = None,
        into: Into = None,
        present: Optional[Collection[str]] = None,
        timeout: Optional[float] = None,
    ) -> Weights:
        """Pushes what training made of the base, waits for the round, and returns the new slow weights.

        Args:
            weights: the fast weights by name. A tensor left out has no part in this push.
            samples: samples behind them; their weight in rounds weighted by samples.
            local_steps: inner steps since the base.
            health: the worker's own numbers, for people to watch.
            into: as in ``pull``; may be ``weights`` itself.
            present: with several ranks: names that this push has, the same on every rank; None: all.
            timeout: seconds; None: as long as the round takes.
        """
        options = self._options(samples, local_steps, 1.0, health, present, "", timeout)
        return self._step(weights, into, False, options)

    def step_gradient(
        self,
        gradients: Mapping[str, Any],
        *,
        samples: int = 1,
        loss_scale: float = 1.0,
        health: Optional[Health] = None,
        into: Into = None,
        present: Optional[Collection[str]] = None,
        view: str = "",
        timeout: Optional[float] = None,
    ) -> Weights:
        """Pushes gradients taken at the base, waits for the round, returns the new weights."""
        options = self._options(samples, 1, loss_scale, health, present, view, timeout)
        return self._step(gradients, into, True, options)

    def step_fragment(
        self,
        fragment: int,
        weights: Mapping[str, Any],
        *,
        samples: int = 1,
        local_steps: int = 1,
        health: Optional[Health] = None,
        into: Into = None,
        timeout: Optional[float] = None,
    ) -> Weights:
        """As ``step``, for one fragment: pushes its tensors, waits for its round, returns its new slow weights.

        ``weights`` may have the other tensors too; they are left alone.
        """
        options = self._options(samples, local_steps, 1.0, health, None, "", timeout, fragment)
        return self._step(self._part(fragment, weights), into, False, options)

    def begin_fragment(
        self,
        fragment: int,
        weights: Mapping[str, Any],
        *,
        samples: int = 1,
        local_steps: int = 1,
        health: Optional[Health] = None,
    ) -> None:
        """Starts ``step_fragment`` in the background, from a copy of the fragment's weights as they are now.

        ``finish_fragment`` brings the result. Several fragments may be under way; they go one after the other.
        """
        options = self._options(samples, local_steps, 1.0, health, None, "", None, fragment)
        data = [
            None if array is None else array.copy()
            for array in collect(self._model, self._tensors, self._part(fragment, weights))
        ]
        self._flights.begin(fragment, lambda: self._step_core(data, None, False, options))

    def finish_fragment(self, fragment: int, *, timeout: Optional[float] = None) -> Weights:
        """Waits for the step that ``begin_fragment`` started and returns the fragment's new slow weights."""
        weights: Weights = self._flights.finish(fragment, timeout)
        self.last_step = weights.step
        self.last_push = None if weights.step is None else weights.step.push
        return weights

    def push_weights(
        self,
        weights: Mapping[str, Any],
        *,
        samples: int = 1,
        local_steps: int = 1,
        health: Optional[Health] = None,
        present: Optional[Collection[str]] = None,
        fragment: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> PushResult:
        """Pushes what training made of the base and returns when the server has decided; the base stays."""
        options = self._options(samples, local_steps, 1.0, health, present, "", timeout, fragment)
        return self._push(weights, False, options)

    def push_gradient(
        self,
        gradients: Mapping[str, Any],
        *,
        samples: int = 1,
        loss_scale: float = 1.0,
        health: Optional[Health] = None,
        present: Optional[Collection[str]] = None,
        timeout: Optional[float] = None,
    ) -> PushResult:
        """Pushes gradients taken at the base and returns when the server has decided (gradient mode)."""
        options = self._options(samples, 1, loss_scale, health, present, "", timeout)
        return self._push(gradients, True, options)

    def push_async(
        self,
        values: Mapping[str, Any],
        *,
        samples: int = 1,
        local_steps: int = 1,
        loss_scale: float = 1.0,
        health: Optional[Health] = None,
        present: Optional[Collection[str]] = None,
        fragment: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> PushFuture:
        """Pushes without waiting for the decision: weights (delta mode) or gradients (gradient mode).

        The values are copied before this returns. Pushes are applied in the order of the calls. At most the join's
        ``max_in_flight`` are in flight; one more waits here for its place, and for room among the pushes that are kept
        until they are on the server's disk. ``pull`` runs beside them; ``step`` and the pushes that wait first let them
        end, and so does ``close``.

        Args:
            timeout: seconds for that wait and the push; None: as long as the connection's ``give_up_after`` allows.
        """
        options = self._options(samples, local_steps, loss_scale, health, present, "", timeout, fragment)
        return PushFuture(self._core.push_async(collect(self._model, self._tensors, values), options=options))

    def health(
        self,
        *,
        train_loss: Optional[float] = None,
        tokens: Optional[float] = None,
        tokens_per_second: Optional[float] = None,
        gradient_norm: Optional[float] = None,
        inner_learning_rate: Optional[float] = None,
        compute_seconds: Optional[float] = None,
        wait_seconds: Optional[float] = None,
    ) -> None:
        """Sends the worker's own numbers with the next heartbeat."""
        self._core.report_health(
            Health(
                train_loss=train_loss,
                tokens=tokens,
                tokens_per_second=tokens_per_second,
                gradient_norm=gradient_norm,
                inner_learning_rate=inner_learning_rate,
                compute_seconds=compute_seconds,
                wait_seconds=wait_seconds,
            )
        )

    def cancel(self) -> None:
        """Ends the call in progress, pushes in flight and all later calls with CancelledError, from any thread."""
        self._core.cancel()

    def close(self) -> None:
        """Leaves the model; the round no longer waits for this worker. Further ranks only detach.

        Pushes in flight end first, as long as one of them moves within the connection's ``control_timeout``; those that
        do not get CancelledError.

        A server that is not there, or that has ended the session already, is no error: nothing is left to do.
        """
        if self._flights:  # nobody will take what is under way
            self._core.cancel()
        self._flights.drop()
        with contextlib.suppress(
            UnavailableError, DeadlineExceededError, NotFoundError, FailedPreconditionError
        ):
            self._core.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if error is not None and not isinstance(error, Exception):
            # Ctrl-C: leave at once, without waiting until every push is on the server's disk.
            self._core.cancel()
        self.close()

    def __repr__(self) -> str:
        return f"<stepback.Worker '{self.client_id}' of model '{self._model}'>"

    @property
    def client_id(self) -> str:
        return self._core.client_id

    @property
    def model(self) -> str:
        """The model's name."""
        return self._model

    @property
    def tensors(self) -> Sequence[TensorInfo]:
        return self._tensors

    @property
    def fragments(self) -> Tuple[FragmentInfo, ...]:
        """Of the model, as of the join; empty when it syncs as a whole."""
        return self._fragments

    def fragment_names(self, fragment: int) -> Tuple[str, ...]:
        """The tensors of one fragment."""
        self._check_fragment(fragment)
        return self._fragment_names[fragment]

    @property
    def epoch(self) -> int:
        """Rises with every session of this worker; only the newest may push."""
        return self._core.epoch

    @property
    def last_sequence(self) -> int:
        """Highest push that the server has decided."""
        return self._core.last_sequence

    @property
    def durable_sequence(self) -> int:
        """Highest push that is on the server's disk."""
        return self._core.durable_sequence

    @property
    def version(self) -> Version:
        """The base: the version of the last pull or step."""
        return self._core.base_version

    @property
    def newest_version(self) -> Version:
        """The newest version heard of, through any answer or heartbeat."""
        return self._core.newest_version

    @property
    def finished(self) -> bool:
        """The model's stop condition is reached."""
        return self._core.finished

    @property
    def settings(self) -> Settings:
        """The server's settings, as of the newest answer."""
        return self._core.settings

    @property
    def local_steps(self) -> int:
        """Steps to run before the next push (H, delta mode), as the server says; 0: its own choice."""
        return self._core.local_steps

    @property
    def statistics(self) -> Statistics:
        return self._core.statistics

    @property
    def ranges(self) -> List[Tuple[int, int]]:
        """(first element, count) of what this rank pushes."""
        return list(self._core.ranges)

    def _step(
        self, values: Mapping[str, Any], into: Into, gradients: bool, options: Dict[str, Any]
    ) -> Weights:
        data = collect(self._model, self._tensors, values)
        weights = self._step_core(data, into, gradients, options)
        self.last_step = weights.step
        self.last_push = None if weights.step is None else weights.step.push
        return weights

    def _step_core(
        self, data: Sequence[Any], into: Into, gradients: bool, options: Dict[str, Any]
    ) -> Weights:
        sinks = self._sinks(into, options["fragment"])
        step = self._core.step(data, sinks.arrays, gradients=gradients, options=options)
        return Weights(sinks.finish(), step.pull, step)

    def _sinks(self, into: Into, fragment: Optional[int]) -> Sinks:
        if fragment is None:
            return Sinks(self._model, self._tensors, into)
        names = self.fragment_names(fragment)
        own = [info for info in self._tensors if info.name in names]
        wanted = None if into is None else {name: into[name] for name in names if name in into}
        return Sinks(self._model, self._tensors, wanted, own)

    def _part(self, fragment: int, weights: Mapping[str, Any]) -> Dict[str, Any]:
        """The fragment's own of ``weights``, whose other names must be the model's too."""
        refuse_unknown(self._model, self._tensors, weights)
        return {name: weights[name] for name in self.fragment_names(fragment) if name in weights}

    def _check_fragment(self, fragment: int) -> None:
        if not self._fragments:
            raise InvalidArgumentError(f"model '{self._model}': fragment is {fragment}, the model has no fragments")
        if not 0 <= fragment < len(self._fragments):
            raise InvalidArgumentError(
                f"model '{self._model}': fragment is {fragment}, expected 0..{len(self._fragments) - 1}"
            )

    def _push(self, values: Mapping[str, Any], gradients: bool, options: Dict[str, Any]) -> PushResult:
        data = collect(self._model, self._tensors, values)
        self.last_push = self._core.push(data, gradients=gradients, options=options)
        return self.last_push

    def _options(
        self,
        samples: int,
        local_steps: int,
        loss_scale: float,
        health: Optional[Health],
        present: Optional[Iterable[str]],
        view: str,
        timeout: Optional[float],
        fragment: Optional[int] = None,
    ) -> Dict[str, Any]:
        names = None if present is None else set(present)
        return {
            "samples": samples,
            "local_steps": local_steps,
            "loss_scale": loss_scale,
            "health": health,
            "present": [] if names is None else [info.name in names for info in self._tensors],
            "fragment": fragment,
            "view": view,
            "timeout_ms": milliseconds(timeout),
        }


def milliseconds(seconds: Optional[float]) -> int:
    """For the core, where 0 means no limit; the least limit is a millisecond."""
    return 0 if seconds is None else max(1, round(seconds * 1000))

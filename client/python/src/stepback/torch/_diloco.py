"""DiLoCo: local-step training of one worker, around an ordinary training loop."""

from __future__ import annotations

import copy
import time
from types import TracebackType
from typing import Any, Collection, Dict, Mapping, Optional, Type, Union

from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from stepback._fragments import Fragments
from stepback._fragments import fragments as stepback_fragments
from stepback._identity import default_worker_id
from stepback._model import Model
from stepback._outer_rules import diloco
from stepback._rounds import Rounds
from stepback._rules import RuleSpec
from stepback._server import Server
from stepback._streaming import StreamingSync
from stepback._types import Health, StepResult, Version
from stepback._weights import Weights
from stepback._worker import Worker
from stepback.torch._attach import check_table, find_or_create, open_server
from stepback.torch._inner_state import reset
from stepback.torch._step_hook import StepHook
from stepback.torch._table import ModuleTable


class DiLoCo:
    """Inside the ``with`` block every ``sync_every``-th ``inner_optimizer.step()`` syncs the module with the
    server.

    A sync pushes what training made of the weights, waits for the round and loads the new slow weights into
    the module. Entering loads the server's weights. When the server restarts, the worker reconnects; when it
    cannot merge a push (``resyncs`` counts them), training goes on from the newest weights. Leaving does not
    push the steps since the last sync: call ``sync()`` for that.

    Args:
        module: its parameters are trained (frozen without ``requires_grad``), float buffers averaged, other
            buffers carried; tied weights are one tensor.
        inner_optimizer: trains between the syncs and is not touched but for ``inner_state``.
        server: a ``stepback.Server`` or its address.
        run: the model's name; created when it is not there yet. The settings of a model that is there win.
        sync_every: inner steps per sync (H).
        inner_state: the inner optimizer's state at a sync, ``"keep"`` or ``"reset"``.
        outer: the outer optimizer of a new model; default ``stepback.diloco()``.
        rounds: how rounds of a new model close; default ``stepback.sync()``.
        worker_id: identifies this worker; stable across its restarts. Default: host name and process id.
        rank, ranks: of the processes of one data-parallel replica; each pushes its part of the same weights.
        samples_per_step: weight of this worker in rounds weighted by samples.
        push_codec: ``"bf16"`` halves the bytes of a push, ``"e3m0"`` takes a sixth; ``pull_codec`` likewise.
        difference: pulls bring differences in this form (``Model.join``).
        error_feedback: adds what ``push_codec`` lost to the next push; wanted with codecs of few bits.
        fragments: Streaming DiLoCo: so many parts of about equal bytes (or ``stepback.fragments(...)``) of a new
            model sync one after the other, each every ``sync_every`` steps.
        overlap_steps: inner steps that go on between sending a part and taking its result; ``mixing`` is the
            weight of the local weights then (default 0, or 0.5 with overlap).

    ::

        with DiLoCo(module, inner, server="localhost:7400", run="lm", sync_every=500) as run:
            for batch in data:
                inner.zero_grad()
                loss = module(batch)
                loss.backward()
                inner.step()  # every 500th syncs
                if run.finished:
                    break
    """

    def __init__(
        self,
        module: Module,
        inner_optimizer: Optimizer,
        *,
        server: Union[Server, str],
        run: str,
        sync_every: int,
        inner_state: str = "keep",
        outer: Optional[RuleSpec] = None,
        rounds: Optional[Rounds] = None,
        worker_id: Optional[str] = None,
        rank: int = 0,
        ranks: int = 1,
        samples_per_step: int = 1,
        push_codec: str = "f32",
        pull_codec: str = "f32",
        difference: str = "",
        error_feedback: bool = False,
        fragments: Union[int, Fragments, None] = None,
        overlap_steps: int = 0,
        mixing: Optional[float] = None,
    ) -> None:
        if not isinstance(inner_optimizer, Optimizer):
            raise TypeError(
                f"inner_optimizer is {type(inner_optimizer).__name__}, expected a torch.optim.Optimizer"
            )
        if sync_every < 1:
            raise ValueError(f"sync_every is {sync_every}, expected at least 1")
        if inner_state not in ("keep", "reset"):
            raise ValueError(f"inner_state is {inner_state!r}, expected 'keep' or 'reset'")
        if isinstance(fragments, int):
            fragments = stepback_fragments(fragments, overlap_steps=overlap_steps, mixing=mixing)
        elif overlap_steps or mixing is not None:
            raise ValueError("overlap_steps and mixing go with a number of fragments")
        if fragments is not None and inner_state != "keep":
            raise ValueError("inner_state is 'reset', expected 'keep' with fragments: they sync at different steps")
        self._fragments = fragments
        self._streaming: Optional[StreamingSync] = None
        self._table = ModuleTable(module)
        self._optimizer = inner_optimizer
        self._server = server
        self._run = run
        self._sync_every = sync_every
        self._inner_state = inner_state
        self._outer = outer if outer is not None else diloco()
        self._rounds = rounds
        self._worker_id = worker_id or default_worker_id()
        self._join = {
            "rank": rank,
            "ranks": ranks,
            "push_codec": push_codec,
            "pull_codec": pull_codec,
            "difference": difference,
            "error_feedback": error_feedback,
        }
        self._samples_per_step = samples_per_step
        self._connection: Optional[Server] = None  # only when it is ours
        self._model: Optional[Model] = None
        self._worker: Optional[Worker] = None
        self._hook: Optional[StepHook] = None
        self._health = Health()
        self._cycle_began = 0.0
        self.local_steps = 0
        self.syncs = 0
        self.resyncs = 0

    def __enter__(self) -> DiLoCo:
        server, owned = open_server(self._server)
        self._connection = server if owned else None
        try:
            self._model = find_or_create(server, self._run, lambda: self._create(server))
            check_table(self._model, self._table.tensors, "delta")
            self._worker = self._model.join(self._worker_id, **self._join)  # type: ignore[arg-type]
            self._loaded(self._worker.pull(into=self._table.incoming(frozen=True)))
            if self._worker.fragments:
                self._streaming = StreamingSync(self._worker, samples_per_step=self._samples_per_step)
        except BaseException:
            self.close()
            raise
        self._hook = StepHook(self._optimizer, self._after_step)
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def sync(self) -> StepResult:
        """Pushes the steps since the last sync and loads the new slow weights; step() calls it.

        In a model of fragments: every fragment now, one after the other, whatever its turn.
        """
        if self._streaming is not None:
            held = self._table.outgoing()
            self._streaming.sync(held)
            self._took(held, range(len(self.worker.fragments)))
            assert self.worker.last_step is not None
            return self.worker.last_step
        weights = self.worker.step(
            self._table.outgoing(),
            into=self._table.incoming(frozen=False),
            samples=max(1, self.local_steps * self._samples_per_step),
            local_steps=max(1, self.local_steps),
            health=self._health_now(),
        )
        self._loaded(weights)
        if self._inner_state == "reset":
            reset(self._optimizer)
        self.syncs += 1
        assert weights.step is not None
        self.resyncs += weights.step.outcome == "resynced"
        return weights.step

    def state_dict(self) -> Dict[str, Any]:
        """The worker's side of a snapshot, right after a sync: what the server does not hold.

        Save it under the label of ``model.save_snapshot(label)``, next to the position in the data and the
        generators' states, which are the caller's. ``torch.save`` takes it.
        """
        if self.local_steps != 0 or self._streaming is not None:
            raise RuntimeError("DiLoCo.state_dict: only right after a sync of the whole model, call sync() first")
        version = self.version
        state = self._optimizer.state_dict()
        return {
            "run": self._run,
            "version": (version.term, version.counter),
            "syncs": self.syncs,
            "inner_optimizer": copy.deepcopy(state),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on as the worker that saved ``state``, from the weights that the server has now.

        Call it on entering, when the server is at the snapshot of that label, or when ``resyncs`` says that
        the run was rolled back to it.
        """
        if state["run"] != self._run:
            raise ValueError(f"the state is of run '{state['run']}', expected '{self._run}'")
        self._optimizer.load_state_dict(copy.deepcopy(state["inner_optimizer"]))
        self.syncs = int(state["syncs"])
        self._loaded(self.worker.pull(into=self._table.incoming(frozen=True)))

    def report(
        self,
        *,
        loss: Optional[float] = None,
        tokens: Optional[float] = None,
        tokens_per_second: Optional[float] = None,
        gradient_norm: Optional[float] = None,
    ) -> None:
        """The worker's own numbers for people to watch; they go with the next sync or heartbeat."""
        self._health = Health(
            train_loss=None if loss is None else float(loss),
            tokens=tokens,
            tokens_per_second=tokens_per_second,
            gradient_norm=gradient_norm,
        )
        self.worker.health(
            train_loss=self._health.train_loss,
            tokens=tokens,
            tokens_per_second=tokens_per_second,
            gradient_norm=gradient_norm,
            inner_learning_rate=self._learning_rate(),
        )

    def close(self) -> None:
        """Leaves the model; the inner optimizer is as it was before the block."""
        self._streaming = None
        hook, self._hook = self._hook, None
        worker, self._worker = self._worker, None
        connection, self._connection = self._connection, None
        if hook is not None:
            hook.remove()
        if worker is not None:
            worker.close()
        if connection is not None:
            connection.close()

    @property
    def worker(self) -> Worker:
        if self._worker is None:
            raise RuntimeError("DiLoCo is open only inside its with block")
        return self._worker

    @property
    def model(self) -> Model:
        if self._model is None:
            raise RuntimeError("DiLoCo has a model only from its with block on")
        return self._model

    @property
    def sync_every(self) -> int:
        """Inner steps per sync: the model's setting where it has one."""
        return self._sync_every

    @property
    def version(self) -> Version:
        """The version that the module was last loaded with."""
        return self.worker.version

    @property
    def finished(self) -> bool:
        """The model's stop condition is reached."""
        return self.worker.finished

    def _create(self, server: Server) -> Model:
        return server.create_model(
            self._run,
            self._table.weights(),
            roles=self._table.roles,
            mode="delta",
            outer=self._outer,
            rounds=self._rounds,
            sync_period=self._sync_every,
            fragments=self._fragments,
        )

    def _after_step(self) -> None:
        self.local_steps += 1
        if self._streaming is not None:
            return self._stream(self._streaming)
        if self.local_steps >= self._sync_every:
            self.sync()

    def _stream(self, streaming: StreamingSync) -> None:
        held: Dict[str, Tensor] = {}

        def weights() -> Dict[str, Tensor]:
            held.update(self._table.outgoing())
            return held

        self._took(held, streaming.step(weights))

    def _took(self, held: Mapping[str, Tensor], fragments: Collection[int]) -> None:
        assert self._streaming is not None
        for fragment in fragments:
            self._table.take(held, self.worker.fragment_names(fragment))
        self.syncs += len(fragments)
        self.resyncs = self._streaming.resyncs

    def _loaded(self, weights: Weights) -> None:
        self._table.round_masters()
        self.local_steps = 0
        self._sync_every = self.worker.local_steps or self._sync_every
        self._cycle_began = time.monotonic()

    def _health_now(self) -> Health:
        last = self.worker.last_step
        return Health(
            train_loss=self._health.train_loss,
            tokens=self._health.tokens,
            tokens_per_second=self._health.tokens_per_second,
            gradient_norm=self._health.gradient_norm,
            inner_learning_rate=self._learning_rate(),
            compute_seconds=time.monotonic() - self._cycle_began,
            wait_seconds=None if last is None else last.wait_seconds,
        )

    def _learning_rate(self) -> Optional[float]:
        rate = self._optimizer.param_groups[0].get("lr")
        return None if rate is None else float(rate)

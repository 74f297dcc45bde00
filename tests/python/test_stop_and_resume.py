"""A run stops, resumes and rolls back as one: weights as if nothing had happened, bit for bit."""

import copy
import threading

import pytest
import torch

import stepback
from stepback.testing import ServerProcess
from stepback.torch import DiLoCo, Lookahead

WORKERS = 2
STEPS = 3  # local ones per round
BEFORE, AFTER = 3, 3  # rounds before and after the stop
LABEL = "stop"


class Trainer(threading.Thread):
    """One worker: a linear model on data of its own, drawn from a generator that is a part of its state."""

    def __init__(self, cluster, index):
        super().__init__(daemon=True)
        self.cluster, self.index, self.error = cluster, index, None
        torch.manual_seed(7)
        self.module = torch.nn.Linear(40, 3)
        momentum = 0.9 if cluster.momentum else 0.0
        self.inner = torch.optim.SGD(self.module.parameters(), lr=0.05, momentum=momentum)
        self.data = torch.Generator().manual_seed(100 + index)

    def run(self):
        try:
            self.train()
        except BaseException as error:
            self.error = error
            self.cluster.boundary.abort()

    def backward(self):
        inputs = torch.randn(8, 40, generator=self.data)
        self.module.zero_grad()
        (self.module(inputs) - inputs[:, :3].sin()).square().mean().backward()


class DeltaTrainer(Trainer):
    def train(self):
        outer = stepback.diloco(momentum=0.9 if self.cluster.momentum else 0.0)
        rounds = stepback.sync(WORKERS, reduction="ordered")
        with DiLoCo(self.module, self.inner, server=self.cluster.address, run="delta", sync_every=STEPS, outer=outer,
                    rounds=rounds, worker_id=f"worker-{self.index}") as run:
            self.sync = run
            self.cluster.drive(self, run.model)

    def rounds(self, count):
        for _ in range(count * STEPS):
            self.backward()
            self.inner.step()

    def state(self):
        return {"run": self.sync.state_dict(), "data": self.data.get_state()}

    def load(self, state):
        self.sync.load_state_dict(state["run"])
        self.data.set_state(state["data"])

    def await_rollback(self):
        """Trains on until a sync says that the run went back."""
        before = self.sync.resyncs
        while self.sync.resyncs == before:
            self.rounds(1)


class GradientTrainer(Trainer):
    def train(self):
        rounds = stepback.sync(WORKERS, reduction="ordered")
        self.sync = Lookahead(self.inner, la_steps=2, server=self.cluster.address, run="gradient", mode="gradient",
                              named_parameters=self.module.named_parameters(), rounds=rounds,
                              worker_id=f"worker-{self.index}")
        try:
            self.cluster.drive(self, self.sync.model)
        finally:
            self.sync.close()

    def rounds(self, count):
        for _ in range(count):
            self.backward()
            self.sync.step()

    def state(self):
        return {"run": copy.deepcopy(self.sync.state_dict()), "data": self.data.get_state()}

    def load(self, state):
        self.sync.load_state_dict(state["run"])
        self.data.set_state(state["data"])

    def await_rollback(self):
        self.rounds(1)  # is not merged; the next ones are


class Cluster:
    """Runs the workers through one script, with what is to be done once at each boundary."""

    def __init__(self, address, trainer, momentum):
        self.address, self.momentum, self.saved = address, momentum, {}
        self.trainer, self.boundary = trainer, threading.Barrier(WORKERS)

    def run(self, script, saved=None):
        self.script, self.saved = script, saved or {}
        trainers = [self.trainer(self, index) for index in range(WORKERS)]
        for trainer in trainers:
            trainer.start()
        for trainer in trainers:
            trainer.join(60)
            assert not trainer.is_alive()
        for trainer in trainers:
            if trainer.error is not None and not isinstance(trainer.error, threading.BrokenBarrierError):
                raise trainer.error
        weights = [torch.cat([p.detach().flatten() for p in t.module.parameters()]) for t in trainers]
        assert torch.equal(*weights)
        return weights[0]

    def drive(self, trainer, model):
        self.script(self, trainer, model)

    def once(self, action):
        """At a boundary of rounds: one of the workers does it, the others wait."""
        if self.boundary.wait() == 0:
            action()
        self.boundary.wait()


def undisturbed(cluster, trainer, model):
    cluster.once(lambda: None)
    trainer.rounds(BEFORE + AFTER)


def stops(cluster, trainer, model):
    cluster.once(lambda: None)
    trainer.rounds(BEFORE)
    cluster.once(lambda: model.save_snapshot(LABEL))
    cluster.saved[trainer.index] = trainer.state()
    cluster.once(lambda: None)


def resumes(cluster, trainer, model):
    cluster.once(lambda: None)
    trainer.load(cluster.saved[trainer.index])
    trainer.rounds(AFTER)


def rolls_back(cluster, trainer, model):
    stops(cluster, trainer, model)
    trainer.rounds(3)
    cluster.once(lambda: model.restore_snapshot(LABEL))
    trainer.await_rollback()
    cluster.once(lambda: None)
    trainer.load(cluster.saved[trainer.index])
    cluster.once(lambda: None)
    trainer.rounds(AFTER)


@pytest.fixture
def process(tmp_path):
    with ServerProcess(None, tmp_path / "data") as running:
        yield running


def expected(tmp_path, trainer, momentum):
    with ServerProcess(None, tmp_path / "undisturbed") as other:
        return Cluster(other.address, trainer, momentum).run(undisturbed)


MODES = pytest.mark.parametrize("trainer", [DeltaTrainer, GradientTrainer], ids=["delta", "gradient"])
MOMENTUM = pytest.mark.parametrize("momentum", [False, True], ids=["plain", "momentum"])


@MODES
@MOMENTUM
def test_a_run_that_stopped_whole_goes_on_bit_for_bit(process, tmp_path, trainer, momentum):
    cluster = Cluster(process.address, trainer, momentum)
    cluster.run(stops)
    saved = cluster.saved
    process.stop()
    process.start()
    resumed = Cluster(process.address, trainer, momentum).run(resumes, saved)
    assert torch.equal(resumed, expected(tmp_path, trainer, momentum))


@MODES
@MOMENTUM
def test_live_workers_go_on_from_the_version_that_the_run_is_rolled_back_to(process, tmp_path, trainer, momentum):
    rolled_back = Cluster(process.address, trainer, momentum).run(rolls_back)
    assert torch.equal(rolled_back, expected(tmp_path, trainer, momentum))


def test_a_run_that_was_rolled_back_before_its_end_is_not_finished_until_it_gets_there_again(process):
    """The end counts outer steps, which go back with the weights."""
    torch.manual_seed(7)
    module = torch.nn.Linear(4, 1)
    inner = torch.optim.SGD(module.parameters(), lr=0.1)
    rounds = 0

    def train(run):
        nonlocal rounds
        for _ in range(STEPS):
            module.zero_grad()
            module(torch.ones(2, 4)).sum().backward()
            inner.step()
        rounds += 1

    with process.connect() as server:
        weights = {name: parameter.detach() for name, parameter in module.named_parameters()}
        server.create_model("m", weights, sync_period=STEPS, finish_after_steps=4)
        with DiLoCo(module, inner, server=server, run="m", sync_every=STEPS) as run:
            train(run)
            run.model.save_snapshot(LABEL)
            while not run.finished:
                train(run)
            assert rounds == 4
            run.model.restore_snapshot(LABEL)
            train(run)  # not merged
            assert run.resyncs == 1 and not run.finished
            while not run.finished:
                train(run)
            assert rounds == 4 + 1 + 3

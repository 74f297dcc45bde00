"""Every tensor as its role says: trained, averaged, carried, frozen, and tied weights once."""

import threading

import numpy as np
import torch
from conftest import TIMEOUT, until

import stepback
from stepback.torch import DiLoCo

LOCAL_STEPS, ROUNDS, WORKERS = 4, 3, 2
OUTER_RATE, OUTER_MOMENTUM = 0.5, 0.5


class Everything(torch.nn.Module):
    """BatchNorm statistics, an integer counter, a tied pair, a frozen part."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(11)
        self.frozen = torch.nn.Linear(6, 6)
        self.frozen.requires_grad_(False)
        self.norm = torch.nn.BatchNorm1d(6)
        self.encode = torch.nn.Linear(6, 6, bias=False)
        self.decode = torch.nn.Linear(6, 6, bias=False)
        self.decode.weight = self.encode.weight
        self.register_buffer("rows_seen", torch.zeros(2, dtype=torch.int64))
        self.register_buffer("scratch", torch.zeros(3), persistent=False)

    def forward(self, x):
        self.rows_seen += torch.tensor([len(x), 1])
        return self.decode(torch.tanh(self.encode(self.norm(self.frozen(x)))))


ROLES = {
    "rows_seen": "carried",
    "frozen.weight": "frozen",
    "frozen.bias": "frozen",
    "norm.weight": "trained",
    "norm.bias": "trained",
    "norm.running_mean": "averaged",
    "norm.running_var": "averaged",
    "norm.num_batches_tracked": "carried",
    "encode.weight": "trained",
}


def train_locally(module, optimizer, worker, first):
    generator = torch.Generator().manual_seed(100 * worker + first)
    for _ in range(LOCAL_STEPS):
        x = torch.randn(8 + worker, 6, generator=generator)
        optimizer.zero_grad()
        ((module(x) - x) ** 2).mean().backward()
        optimizer.step()


def optimizer_of(module):
    return torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1, momentum=0.9)


def reference(newest):
    """The same training without a server: plain torch, each tensor by its role, means in fp64.

    `newest` is the worker whose push came last in every round.
    """
    modules = [Everything() for _ in range(WORKERS)]
    optimizers = [optimizer_of(module) for module in modules]
    slow = {name: modules[0].state_dict()[name].clone() for name in ROLES}
    velocity = {
        name: torch.zeros_like(slow[name], dtype=torch.float64) for name in ROLES if ROLES[name] == "trained"
    }
    for round_ in range(ROUNDS):
        for module in modules:
            with torch.no_grad():
                for name in ROLES:
                    module.state_dict()[name].copy_(slow[name])
        for worker, (module, optimizer) in enumerate(zip(modules, optimizers)):
            train_locally(module, optimizer, worker, round_)
        for name, role in ROLES.items():
            fast = [module.state_dict()[name] for module in modules]
            mean = sum(f.double() for f in fast) / WORKERS
            if role == "trained":
                delta = slow[name].double() - mean
                velocity[name] = OUTER_MOMENTUM * velocity[name] + delta
                slow[name] = (slow[name] - OUTER_RATE * (delta + OUTER_MOMENTUM * velocity[name])).float()
            elif role == "averaged":
                slow[name] = mean.float()
            elif role == "carried":
                slow[name] = fast[newest].clone()
    return slow


def create(server, module):
    return server.create_model(
        "m",
        {name: module.state_dict()[name] for name in ROLES},
        roles=ROLES,
        outer=stepback.nesterov(OUTER_RATE, OUTER_MOMENTUM),
        rounds=stepback.sync(quorum=WORKERS, reduction="ordered"),
        sync_period=LOCAL_STEPS,
    )


def assert_follows(pulled, expected):
    for name, role in ROLES.items():
        got, want = torch.from_numpy(np.asarray(pulled[name])), expected[name]
        if role in ("carried", "frozen"):
            assert got.dtype == want.dtype and torch.equal(got, want), name
        else:
            assert torch.allclose(got, want, rtol=2e-6, atol=2e-6), (name, (got - want).abs().max())


def test_the_table_is_the_modules(server):
    module = Everything()
    with DiLoCo(module, optimizer_of(module), server=server, run="m", sync_every=LOCAL_STEPS) as run:
        assert {tensor.name: tensor.role for tensor in run.model.tensors} == ROLES


def test_two_workers_end_where_the_reference_does(server):
    """The SDK by hand, so that the order of the pushes is known: worker 1 is the newest contributor."""
    modules = [Everything() for _ in range(WORKERS)]
    optimizers = [optimizer_of(module) for module in modules]
    model = create(server, modules[0])
    workers = [model.join(f"w{i}") for i in range(WORKERS)]
    into = [{name: module.state_dict()[name] for name in ROLES} for module in modules]
    for worker, target in zip(workers, into):
        worker.pull(into=target)
    for round_ in range(ROUNDS):
        for i in range(WORKERS):
            train_locally(modules[i], optimizers[i], i, round_)
        assert workers[0].push_weights(into[0], local_steps=LOCAL_STEPS).outcome == "buffered"
        workers[1].step(into[1], into=into[1], local_steps=LOCAL_STEPS)
        workers[0].pull(into=into[0])
    assert_follows(model.pull(), reference(newest=1))


def test_diloco_ends_where_the_reference_does(server):
    """Two training loops around DiLoCo. Counters are equal on both, whoever pushes last, but for the rows."""
    model = create(server, Everything())
    frozen_before = Everything().frozen.weight.clone()
    modules, failures = [Everything() for _ in range(WORKERS)], []

    def work(i):
        try:
            optimizer = optimizer_of(modules[i])
            with DiLoCo(
                modules[i], optimizer, server=server, run="m", sync_every=LOCAL_STEPS, worker_id=f"w{i}"
            ) as run:
                for round_ in range(ROUNDS):
                    train_locally(modules[i], optimizer, i, round_)
                assert run.syncs == ROUNDS and run.resyncs == 0
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert not failures and not any(thread.is_alive() for thread in threads)
    pulled = model.pull()
    rows = torch.from_numpy(pulled["rows_seen"]).clone()
    # Every round one of them was the newest: its 8 or 9 rows a step are counted, the other's are not.
    firsts = {LOCAL_STEPS * (8 * n + 9 * (ROUNDS - n)) for n in range(ROUNDS + 1)}
    assert rows[0].item() in firsts and rows[1].item() == LOCAL_STEPS * ROUNDS
    assert_follows(pulled, dict(reference(newest=0), rows_seen=rows))
    for module in modules:  # what the workers hold is what the server holds, tied and frozen parts too
        for name in ROLES:
            assert torch.equal(module.state_dict()[name], torch.from_numpy(np.asarray(pulled[name]))), name
        assert module.decode.weight is module.encode.weight
        assert torch.equal(module.frozen.weight, frozen_before)


def test_carried_bytes_are_the_newest_contributors(server):
    weights = {"n": np.array([0, 0], np.int32)}
    model = server.create_model(
        "m",
        {"w": np.zeros(1, np.float32), **weights},
        rounds=stepback.sync(quorum=2),
        outer=stepback.average(),
    )
    with model.join("a") as a, model.join("b") as b:
        base = a.pull()
        b.pull()
        b.push_weights({**base, "n": np.array([7, -7], np.int32)})
        until(lambda: model.sessions()[1].contributed, "b's push")
        new = a.step({**base, "n": np.array([-(2**31), 2**31 - 1], np.int32)})
        assert new["n"].tolist() == [-(2**31), 2**31 - 1]

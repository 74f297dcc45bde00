"""Lookahead with a server: equal to the form in process within what fp32 allows, bit for bit where claimed.

The bound is that of the server's rules against torch (docs/decisions): no farther from an fp64 run than twice
as far as torch's own fp32 run is, plus 1e-6 of the weights' size.
"""

import copy
import pickle

import numpy as np
import pytest
import torch
from conftest import TIMEOUT, assert_same
from test_lookahead import assert_same_bits, batch, make_module, train, weights_of

import stepback
from stepback.torch import Lookahead

STEPS = 23
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.3, weight_decay=1e-2),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.02, betas=(0.8, 0.95), weight_decay=1e-2),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.02, amsgrad=True),
}


def fp64_twin(make, k, alpha, policy, steps):
    module = make_module().double()
    optimizer = Lookahead(make(list(module.parameters())), k, alpha, policy)
    for step in range(steps):
        x, y = batch(step)
        optimizer.zero_grad()
        ((module(x.double()) - y.double()) ** 2).mean().backward()
        optimizer.step()
    return weights_of(module)


def assert_within_bound(server, in_process, exact):
    """By decisions 23: twice torch's own distance from fp64, and 1e-6 of the weights' RMS."""
    ours = max((s.double() - e).abs().max() for s, e in zip(server, exact))
    torchs = max((t.double() - e).abs().max() for t, e in zip(in_process, exact))
    size = torch.cat([e.flatten() for e in exact]).square().mean().sqrt()
    assert ours <= 2 * torchs + 1e-6 * size, (ours, torchs, size)


def with_server(server, module, make, k, alpha, policy="none", mode="delta", run="m", **options):
    return Lookahead(
        make(list(module.parameters())),
        k,
        alpha,
        policy,
        server=server,
        run=run,
        named_parameters=module.named_parameters(),
        mode=mode,
        worker_id=options.pop("worker_id", "w0"),
        **options,
    )


@pytest.mark.parametrize("mode", ["delta", "gradient"])
@pytest.mark.parametrize("policy", ["none", "reset", "pullback"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_equals_the_form_in_process(server, name, policy, mode):
    make = OPTIMIZERS[name]
    module, plain = make_module(), make_module()
    optimizer = with_server(server, module, make, 5, 0.5, policy, mode)
    in_process = Lookahead(make(list(plain.parameters())), 5, 0.5, policy)
    train(module, optimizer, STEPS)
    train(plain, in_process, STEPS)
    exact = fp64_twin(make, 5, 0.5, policy, STEPS)
    assert_within_bound(weights_of(module), weights_of(plain), exact)
    with optimizer.slow_weights(), in_process.slow_weights():
        slow, plain_slow = weights_of(module), weights_of(plain)
    info = server.model("m").info
    assert info.outer_steps == STEPS // 5
    assert_within_bound(slow, plain_slow, slow_of_fp64(make, policy))
    optimizer.close()


def slow_of_fp64(make, policy):
    """The slow weights of the fp64 run: those of its last sync."""
    return fp64_twin(make, 5, 0.5, policy, STEPS - STEPS % 5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_alpha_one_is_the_inner_optimizer_bit_for_bit(server, name):
    """Gradient mode: a server that syncs with alpha = 1 and one that never does have the same bits."""
    make = OPTIMIZERS[name]
    module, plain = make_module(), make_module()
    optimizer = with_server(server, module, make, 5, 1.0, mode="gradient", run="synced")
    info = optimizer.model.info
    server.create_model(
        "plain",
        {n: p.detach() for n, p in plain.named_parameters()},
        mode="gradient",
        inner=info.inner,
        outer=stepback.no_rule(),
    )
    unsynced = with_server(server, plain, make, 5, 1.0, mode="gradient", run="plain")
    train(module, optimizer, STEPS)
    train(plain, unsynced, STEPS)
    assert_same_bits(weights_of(module), weights_of(plain))
    assert optimizer.model.describe().outer_steps == STEPS // 5
    # And it is torch's optimizer, within the bound.
    lone = make_module()
    train(lone, make(list(lone.parameters())), STEPS)
    assert_within_bound(weights_of(module), weights_of(lone), fp64_twin(make, 5, 1.0, "none", STEPS))


@pytest.mark.parametrize("mode", ["delta", "gradient"])
def test_param_groups_keep_their_own_rates(server, mode):
    def make(parameters):
        weights, biases = parameters[::2], parameters[1::2]
        groups = [
            {"params": weights, "weight_decay": 0.1},
            {"params": biases, "lr": 0.001, "betas": (0.5, 0.9)},
        ]
        return torch.optim.AdamW(groups, lr=0.02)

    module, plain = make_module(), make_module()
    optimizer = with_server(server, module, make, 4, 0.5, mode=mode)
    train(module, optimizer, STEPS)
    in_process = Lookahead(make(list(plain.parameters())), 4, 0.5)
    train(plain, in_process, STEPS)
    assert_within_bound(weights_of(module), weights_of(plain), fp64_twin(make, 4, 0.5, "none", STEPS))


@pytest.mark.parametrize(
    "make, field",
    [
        (lambda p: torch.optim.RMSprop(p, lr=0.1), "RMSprop"),
        (lambda p: torch.optim.SGD(p, lr=0.1, maximize=True), "maximize"),
        (
            lambda p: torch.optim.Adam([{"params": p[:1]}, {"params": p[1:], "maximize": True}]),
            "param_groups\\[1\\]",
        ),
        (lambda p: type("MySGD", (torch.optim.SGD,), {})(p, lr=0.1), "MySGD"),
    ],
)
def test_optimizers_that_do_not_map_exactly_are_refused(server, make, field):
    module = make_module()
    with pytest.raises(TypeError, match=field):
        with_server(server, module, make, 5, 0.5, mode="gradient")
    assert server.list_models() == []


def test_an_optimizer_that_has_already_stepped_is_refused_in_gradient_mode(server):
    module = make_module()
    inner = torch.optim.Adam(module.parameters())
    train(module, inner, 1)
    with pytest.raises(ValueError, match="has taken steps already"):
        with_server(server, module, lambda p: inner, 5, 0.5, mode="gradient")


def test_a_scheduler_is_refused_while_the_rates_are_the_servers(server):
    module = make_module()
    optimizer = with_server(server, module, OPTIMIZERS["sgd"], 5, 0.5, mode="gradient")
    train(module, optimizer, 1)
    optimizer.param_groups[0]["lr"] = 0.05
    with pytest.raises(
        ValueError, match=r"inner\.lr is 0.05 here, but model 'm' takes its rates from the server"
    ):
        train(module, optimizer, 1, first=1)


def test_a_scheduler_is_followed_when_the_model_says_so(server):
    def make(parameters):
        return torch.optim.SGD([{"params": parameters[:2]}, {"params": parameters[2:], "lr": 0.02}], lr=0.1)

    def run(module, optimizer):
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3, gamma=0.5)
        for step in range(STEPS):
            train(module, optimizer, 1, first=step)
            schedule.step()

    module, plain, exact = make_module(), make_module(), make_module().double()
    optimizer = with_server(server, module, make, 5, 0.5, mode="gradient", lr_source="client")
    run(module, optimizer)
    run(plain, Lookahead(make(list(plain.parameters())), 5, 0.5))
    twin = Lookahead(make(list(exact.parameters())), 5, 0.5)
    schedule = torch.optim.lr_scheduler.StepLR(twin, 3, gamma=0.5)
    for step in range(STEPS):
        x, y = batch(step)
        twin.zero_grad()
        ((exact(x.double()) - y.double()) ** 2).mean().backward()
        twin.step()
        schedule.step()
    assert_within_bound(weights_of(module), weights_of(plain), weights_of(exact))
    assert optimizer.model.describe().inner.values["lr"] == pytest.approx(0.1 * 0.5 ** ((STEPS - 1) // 3))


def test_closures_and_missing_gradients(server):
    used, unused = torch.nn.Parameter(torch.tensor([4.0])), torch.nn.Parameter(torch.tensor([4.0]))
    named = [("used", used), ("unused", unused)]
    inner = torch.optim.SGD([used, unused], lr=1.0, weight_decay=0.5)
    optimizer = Lookahead(
        inner, 2, 0.5, server=server, run="m", named_parameters=named, mode="gradient", worker_id="w0"
    )

    def closure():
        optimizer.zero_grad(set_to_none=True)
        loss = (2 * used).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 8.0
    # 4 - (2 + 0.5 * 4) = 0; without a gradient there is no step, and no decay.
    assert (used.item(), unused.item()) == (0.0, 4.0)


@pytest.mark.parametrize("mode", ["delta", "gradient"])
def test_slow_weights_and_state_dict_hold_the_servers(server, mode):
    module = make_module()
    optimizer = with_server(server, module, OPTIMIZERS["momentum"], 4, 0.5, mode=mode)
    train(module, optimizer, 6)
    fast = weights_of(module)
    pulled = optimizer.model.pull(view="eval")
    with optimizer.slow_weights():
        assert_same({n: p.detach().numpy() for n, p in module.named_parameters()}, pulled)
    assert_same_bits(weights_of(module), fast)
    state = optimizer.state_dict()["lookahead"]
    for slow, expected in zip(state["slow"].values(), pulled.values()):
        np.testing.assert_array_equal(slow.numpy(), expected)
    version = optimizer.worker.version
    assert state["server"] == {"run": "m", "version": (version.term, version.counter)}
    with pytest.raises(TypeError, match="save its state_dict"):
        pickle.dumps(optimizer)
    with pytest.raises(TypeError, match="save its state_dict"):
        copy.deepcopy(optimizer)


def test_delta_mode_goes_on_from_a_state_dict_in_the_middle_of_a_cycle(server):
    make = OPTIMIZERS["momentum"]
    module, plain = make_module(), make_module()
    never_stopped = with_server(server, plain, make, 4, 0.5, "pullback", run="reference")
    train(plain, never_stopped, 15)

    optimizer = with_server(server, module, make, 4, 0.5, "pullback")
    train(module, optimizer, 6)
    saved = copy.deepcopy((module.state_dict(), optimizer.state_dict()))
    optimizer.close()  # the worker ends here, two steps into a cycle
    for optimizer_first in (True, False):
        other = make_module(seed=5)
        if optimizer_first:
            resumed = with_server(server, other, make, 4, 0.5, "pullback")
            resumed.load_state_dict(saved[1])
            other.load_state_dict(saved[0])
        else:
            resumed = with_server(server, other, make, 4, 0.5, "pullback")
            other.load_state_dict(saved[0])
            resumed.load_state_dict(saved[1])
        if optimizer_first:
            continue  # the same place again, the other way round
        train(other, resumed, 9, first=6)
        assert_same_bits(weights_of(other), weights_of(plain))


def test_when_the_run_has_moved_on_a_resumed_worker_starts_from_the_servers_weights(server):
    make = OPTIMIZERS["sgd"]
    module = make_module()
    optimizer = with_server(server, module, make, 4, 0.5)
    train(module, optimizer, 6)
    saved = copy.deepcopy((module.state_dict(), optimizer.state_dict()))
    train(module, optimizer, 4, first=6)  # past the next sync
    optimizer.close()
    moved = server.model("m").pull()
    other = make_module(seed=5)
    resumed = with_server(server, other, make, 4, 0.5)
    other.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    resumed.zero_grad()
    resumed.step()  # without gradients: only finds out where it is
    assert_same({n: p.detach().numpy() for n, p in other.named_parameters()}, moved)


def test_two_workers_share_the_slow_weights(server):
    from test_sdk import in_thread

    make, modules = OPTIMIZERS["sgd"], [make_module(), make_module(seed=9)]
    options = {"rounds": stepback.sync(quorum=2)}
    optimizers = [
        with_server(server, m, make, 3, 0.5, worker_id=f"w{i}", **options) for i, m in enumerate(modules)
    ]
    assert_same_bits(weights_of(modules[0]), weights_of(modules[1]))  # the first one's
    waiting = in_thread(lambda: train(modules[0], optimizers[0], 6))
    train(modules[1], optimizers[1], 6, first=50)
    waiting()
    assert_same_bits(weights_of(modules[0]), weights_of(modules[1]))
    for optimizer in optimizers:
        optimizer.close()


def test_the_servers_settings_win(server):
    module = make_module()
    optimizer = with_server(server, module, OPTIMIZERS["sgd"], 4, 0.5)
    optimizer.model.update({"sync_period": 2, "outer.alpha": 0.25})
    train(module, optimizer, 4)
    assert (optimizer.la_steps, optimizer.la_alpha) == (2, 0.25)
    optimizer.close()
    late = with_server(server, make_module(), OPTIMIZERS["sgd"], 9, 0.9)
    assert (late.la_steps, late.la_alpha) == (2, 0.25)


def test_half_precision_parameters_equal_the_form_in_process(server):
    # The numbers of the test in process.
    x = torch.nn.Parameter(torch.tensor([256.0], dtype=torch.bfloat16))
    optimizer = Lookahead(
        torch.optim.SGD([x], lr=1.0),
        1,
        0.5,
        server=server,
        run="m",
        named_parameters=[("x", x)],
        worker_id="w0",
    )
    for _ in range(4):
        x.grad = torch.tensor([-2.0], dtype=torch.bfloat16)
        optimizer.step()
    assert optimizer.state_dict()["lookahead"]["slow"][0].item() == 260.0 == x.item()
    assert optimizer.model.pull()["x"].tolist() == [260.0]


def test_wrong_attachments_are_named(server):
    module = make_module()
    inner = torch.optim.SGD(module.parameters(), lr=0.1)
    named = list(module.named_parameters())
    for arguments, kind, message in [
        ({"server": server, "named_parameters": named}, TypeError, "needs run="),
        ({"server": server, "run": "m"}, TypeError, "needs named_parameters"),
        ({"server": server, "run": "m", "named_parameters": named[:2]}, ValueError, "parameter 2"),
        (
            {"server": server, "run": "m", "named_parameters": named, "mode": "both"},
            ValueError,
            "mode is 'both'",
        ),
        (
            {"server": server, "run": "m", "named_parameters": named, "lr_source": "moon"},
            ValueError,
            "lr_source",
        ),
    ]:
        with pytest.raises(kind, match=message):
            Lookahead(inner, **arguments)
    server.create_model("other", {"x": torch.zeros(2)})
    with pytest.raises(ValueError, match="model 'other': tensor '0\\.bias' is only in this process"):
        Lookahead(inner, server=server, run="other", named_parameters=named)
    with pytest.raises(ValueError, match="model 'other' is in mode 'delta', expected 'gradient'"):
        Lookahead(inner, server=server, run="other", named_parameters=named, mode="gradient")
    optimizer = Lookahead(inner, server=server, model="m", named_parameters=named)  # the other spelling
    assert optimizer.model.name == "m"
    with pytest.raises(TypeError, match="parameters were added"):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))]})


def test_an_address_is_enough(local):
    module = make_module()
    optimizer = with_server(local.address, module, OPTIMIZERS["sgd"], 2, 0.5)
    train(module, optimizer, 2)
    optimizer.close()
    with local.connect(give_up_after=TIMEOUT) as server:
        assert server.model("m").info.outer_steps == 1
        assert server.list_sessions("m") == []

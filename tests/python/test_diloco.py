"""DiLoCo around ordinary training loops."""

import warnings

import numpy as np
import pytest
import torch
from conftest import TIMEOUT
from test_lookahead import assert_same_bits, loss_of, make_module, train, weights_of

import stepback
from stepback.torch import DiLoCo

H = 5


def by_hand(rounds, inner_state="keep", rate=0.7, momentum=0.9):
    """One worker's DiLoCo in plain torch: inner momentum SGD, outer Nesterov in fp64."""
    module = make_module()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    slow = [w.double() for w in weights_of(module)]
    velocity = [torch.zeros_like(s) for s in slow]
    for round_ in range(rounds):
        train(module, optimizer, H, first=round_ * H)
        with torch.no_grad():
            for i, p in enumerate(module.parameters()):
                delta = slow[i] - p.double()
                velocity[i] = momentum * velocity[i] + delta
                slow[i] = (slow[i] - rate * (delta + momentum * velocity[i])).float().double()
                p.copy_(slow[i])
        if inner_state == "reset":
            optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    return weights_of(module)


@pytest.mark.parametrize("inner_state", ["keep", "reset"])
def test_follows_the_algorithm(server, inner_state):
    module = make_module()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    with DiLoCo(
        module, optimizer, server=server, run="m", sync_every=H, inner_state=inner_state, worker_id="w0"
    ) as run:
        train(module, optimizer, 3 * H)
        assert (run.syncs, run.local_steps, run.version.counter) == (3, 0, 3)
        assert run.model.describe().samples == 3 * H
    for got, expected in zip(weights_of(module), by_hand(3, inner_state)):
        assert torch.allclose(got, expected, rtol=1e-5, atol=1e-6), (got - expected).abs().max()


def test_entering_loads_the_runs_weights_and_leaving_unhooks(server):
    first, second = make_module(), make_module(seed=99)
    with DiLoCo(first, torch.optim.SGD(first.parameters(), lr=0.1), server=server, run="m", sync_every=H):
        pass
    optimizer = torch.optim.SGD(second.parameters(), lr=0.1)
    plain_step = optimizer.step
    with DiLoCo(second, optimizer, server=server, run="m", sync_every=H) as run:
        assert_same_bits(weights_of(second), weights_of(first))
        assert optimizer.step != plain_step
        train(second, optimizer, H - 1)
    assert "step" not in optimizer.__dict__ and optimizer.step == plain_step
    train(second, optimizer, 3)  # past what would have been a sync
    assert server.model("m").info.outer_steps == 0 and run.syncs == 0
    assert server.list_sessions("m") == []
    with pytest.raises(RuntimeError, match="inside its with block"):
        run.sync()


def test_sync_pushes_what_is_left(server):
    module = make_module()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    with DiLoCo(module, optimizer, server=server, run="m", sync_every=H, outer=stepback.local_sgd()) as run:
        train(module, optimizer, 2)
        fast = weights_of(module)
        result = run.sync()
        assert result.outcome == "applied" and run.local_steps == 0
    for got, expected in zip(weights_of(module), fast):
        assert torch.allclose(got, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("scheduler_first", [True, False])
def test_schedulers_work_before_and_inside(server, scheduler_first):
    module = make_module()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5) if scheduler_first else None
        with DiLoCo(module, optimizer, server=server, run="m", sync_every=2) as run:
            schedule = schedule or torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
            for step in range(6):
                train(module, optimizer, 1, first=step)
                schedule.step()
            assert run.syncs == 3
        train(module, optimizer, 2)
        schedule.step()
    assert run.syncs == 3 and optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / 8)


@pytest.mark.filterwarnings("ignore:.*GradScaler.*:FutureWarning")
def test_grad_scaler_and_closures(server):
    module = make_module()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    scaler = torch.cuda.amp.GradScaler(enabled=False)
    with DiLoCo(module, optimizer, server=server, run="m", sync_every=2) as run:
        for step in range(2):
            optimizer.zero_grad()
            scaler.scale(loss_of(module, step)).backward()
            scaler.step(optimizer)
            scaler.update()

        def closure():
            optimizer.zero_grad()
            loss = loss_of(module, 0)
            loss.backward()
            return loss

        assert optimizer.step(closure).item() > 0
        assert (run.syncs, run.local_steps) == (1, 1)


def test_the_servers_period_wins_and_changes_live(server):
    module = make_module()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    with DiLoCo(module, optimizer, server=server, run="m", sync_every=H) as run:
        run.model.update({"sync_period": 2})
        train(module, optimizer, H)  # this cycle began with the old one
        assert (run.syncs, run.sync_every) == (1, 2)
        train(module, optimizer, 4)
        assert run.syncs == 3
    other = make_module()
    with DiLoCo(
        other, torch.optim.SGD(other.parameters(), lr=0.1), server=server, run="m", sync_every=50
    ) as run:
        assert run.sync_every == 2


def test_finished_is_seen_by_the_loop(server):
    module = make_module()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    weights = {name: p.detach() for name, p in module.named_parameters()}
    server.create_model("m", weights, sync_period=2, finish_after_steps=3)
    steps = 0
    with DiLoCo(module, optimizer, server=server, run="m", sync_every=2) as run:
        while not run.finished:
            train(module, optimizer, 1, first=steps)
            steps += 1
    assert steps == 6


def test_health_and_loss_are_reported(server):
    module = make_module()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.125)
    with DiLoCo(module, optimizer, server=server, run="m", sync_every=2, worker_id="w0") as run:
        run.report(loss=torch.tensor(0.75), tokens_per_second=10.0)
        train(module, optimizer, 4)
        (session,) = server.list_sessions("m")
        assert session.health.train_loss == 0.75 and session.health.tokens_per_second == 10.0
        assert session.health.inner_learning_rate == 0.125
        assert session.health.compute_seconds >= 0 and session.health.wait_seconds >= 0


def test_a_rolled_back_run_resyncs_and_training_goes_on(server):
    module = make_module()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    with DiLoCo(module, optimizer, server=server, run="m", sync_every=2, outer=stepback.local_sgd()) as run:
        train(module, optimizer, 2)
        saved = weights_of(module)
        run.model.save_snapshot("here")
        train(module, optimizer, 2)
        run.model.restore_snapshot("here")
        train(module, optimizer, 2)
        assert run.resyncs == 1
        assert_same_bits(weights_of(module), saved)
        train(module, optimizer, 2)
        assert run.resyncs == 1 and run.worker.last_step.outcome == "applied"


def test_a_restarted_server_does_not_stop_the_loop(process):
    module = make_module()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    with (
        process.connect(give_up_after=TIMEOUT) as server,
        DiLoCo(module, optimizer, server=server, run="m", sync_every=H, worker_id="w0") as run,
    ):
        train(module, optimizer, H)
        run.model.save_snapshot()
        train(module, optimizer, H + 2, first=H)
        process.kill()
        process.start()
        train(module, optimizer, H - 2, first=2 * H + 2)
        assert run.syncs == 3 and run.resyncs == 0 and run.worker.statistics.reconnects >= 1
    for got, expected in zip(weights_of(module), by_hand(3)):
        assert torch.allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_half_precision_modules_do_not_pull_the_slow_weights_to_their_grid(server):
    module = torch.nn.Linear(1, 1, bias=False).to(torch.bfloat16)
    with torch.no_grad():
        module.weight.fill_(256.0)
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    with DiLoCo(module, optimizer, server=server, run="m", sync_every=1, outer=stepback.average(0.5)) as run:
        for _ in range(4):
            module.weight.grad = torch.tensor([[-2.0]], dtype=torch.bfloat16)
            optimizer.step()
        assert run.model.pull()["weight"].tolist() == [[260.0]]  # 257 and 259 on the way are no bf16
        assert module.weight.item() == 260.0


def test_bf16_on_the_wire(server):
    module = make_module()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    with DiLoCo(module, optimizer, server=server, run="m", sync_every=2, push_codec="bf16") as run:
        train(module, optimizer, 2)
        elements = sum(p.numel() for p in module.parameters())
        assert run.worker.statistics.payload_bytes_sent == 2 * elements


class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, i):
        return torch.full((5,), float(i)), torch.zeros(3)


def test_a_data_loader_forks_its_workers_inside_the_block(server):
    module = make_module()
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-4)
    loader = torch.utils.data.DataLoader(
        Numbers(), batch_size=3, num_workers=2, multiprocessing_context="fork"
    )
    with DiLoCo(module, optimizer, server=server, run="m", sync_every=2) as run:
        for _ in range(2):
            for x, y in loader:
                optimizer.zero_grad()
                ((module(x) - y) ** 2).mean().backward()
                optimizer.step()
        assert run.syncs == 4 and run.worker.statistics.reconnects == 0
    np.testing.assert_array_equal(weights_of(module)[0].numpy(), server.model("m").pull()["0.weight"])


def test_bad_arguments_are_named(server):
    module = make_module()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for arguments, kind, message in [
        ({"sync_every": 0}, ValueError, "sync_every is 0"),
        ({"sync_every": 1, "inner_state": "pullback"}, ValueError, "inner_state is 'pullback'"),
        ({"sync_every": 1, "inner_optimizer": None}, TypeError, "inner_optimizer is NoneType"),
    ]:
        given = {"inner_optimizer": optimizer, "server": server, "run": "m", **arguments}
        with pytest.raises(kind, match=message):
            DiLoCo(module, **given)
    complex_module = torch.nn.Module()
    complex_module.w = torch.nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    with pytest.raises(TypeError, match="tensor 'w' is complex"):
        DiLoCo(complex_module, optimizer, server=server, run="m", sync_every=1)

"""Schedules through a real server against torch.optim.lr_scheduler: under a gradient of ones a step is the rate."""

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

import stepback

STEPS, RATE = 24, 0.25


def noam(t, warmup):
    return min((t + 1) ** -0.5, (t + 1) * warmup**-1.5) / warmup**-0.5


def warm_then(optimizer, warmup, after):
    """torch's way to warm up: LinearLR ends at 1 after warmup - 1 steps, which is (t + 1) / warmup."""
    rise = lr_scheduler.LinearLR(optimizer, 1 / warmup, 1.0, total_iters=warmup - 1)
    return lr_scheduler.SequentialLR(optimizer, [rise, after(optimizer)], milestones=[warmup])


CASES = {
    "step": (
        stepback.schedule("step", step_size=5, gamma=0.5),
        lambda o: lr_scheduler.StepLR(o, 5, gamma=0.5),
    ),
    "multistep": (
        stepback.schedule("multistep", gamma=0.3, milestone_1=4, milestone_2=9, milestone_3=9),
        lambda o: lr_scheduler.MultiStepLR(o, [4, 9, 9], gamma=0.3),
    ),
    "exponential": (
        stepback.schedule("exponential", gamma=0.9),
        lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    ),
    "linear": (stepback.schedule("linear"), lambda o: lr_scheduler.LinearLR(o)),
    "polynomial": (
        stepback.schedule("polynomial", steps=15, power=1.5),
        lambda o: lr_scheduler.PolynomialLR(o, total_iters=15, power=1.5),
    ),
    "cosine": (  # torch's rises again after T_max
        stepback.schedule("cosine", steps=7, min_factor=0.1, periodic=1),
        lambda o: lr_scheduler.CosineAnnealingLR(o, 7, eta_min=0.1 * RATE),
    ),
    "inverse_sqrt": (
        stepback.schedule("inverse_sqrt", warmup=6),
        lambda o: lr_scheduler.LambdaLR(o, lambda t: noam(t, 6)),
    ),
    "warmup": (
        stepback.schedule("exponential", gamma=0.8, warmup=6),
        lambda o: warm_then(o, 6, lambda p: lr_scheduler.ExponentialLR(p, 0.8)),
    ),
}


# torch's SequentialLR still calls step(0) of the schedules that it chains.
@pytest.mark.filterwarnings("ignore:The epoch parameter")
@pytest.mark.parametrize("name", CASES)
def test_rates_are_torchs(server, name):
    ours, theirs = CASES[name]
    rule = stepback.sgd(lr=RATE).scheduled("lr", ours.name, **ours.values)
    model = server.create_model(
        "m", {"w": np.zeros(3, np.float32)}, mode="gradient", inner=rule, outer=stepback.no_rule()
    )
    parameter = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], lr=RATE)
    scheduler = theirs(optimizer)
    with model.join("w0") as worker:
        worker.pull()
        for t in range(STEPS):
            parameter.grad = torch.ones_like(parameter)
            optimizer.step()
            scheduler.step()
            weights = worker.step_gradient({"w": np.ones(3, np.float32)})
            np.testing.assert_allclose(weights["w"], parameter.detach(), rtol=0, atol=2e-6, err_msg=f"step {t}")


def test_a_schedule_changes_live(server):
    rule = stepback.average(1.0).scheduled("alpha", "step", step_size=1, gamma=0.5)
    model = server.create_model("m", {"w": np.zeros(1, np.float32)}, outer=rule)
    with model.join("w0") as worker:
        weights = worker.pull()
        taken = []
        for step in range(4):
            if step == 2:
                model.update({"outer.schedules.alpha.step_size": 2})
            before = weights["w"][0]
            weights = worker.step({"w": weights["w"] + np.float32(8)})
            taken.append(float(weights["w"][0] - before))
    # Factors 1, 1/2 under the first curve; from outer step 2 on 0.5^floor(s / 2).
    assert taken == [8.0, 4.0, 4.0, 4.0]


def test_the_sync_period_follows_its_schedule_and_reaches_the_worker(server):
    model = server.create_model(
        "m",
        {"w": np.zeros(1, np.float32)},
        outer=stepback.diloco(),
        sync_period=20,
        sync_period_schedule=stepback.schedule("linear", start_factor=0.25, steps=3),
    )
    assert model.describe().sync_period == 20
    assert model.describe().sync_period_schedule.values == {"start_factor": 0.25, "steps": 3.0}
    with model.join("w0") as worker:
        periods = [worker.local_steps]
        weights = worker.pull()
        for _ in range(4):
            weights = worker.step({"w": weights["w"] - 1})
            periods.append(worker.local_steps)
            assert worker.settings.sync_period == worker.local_steps
    assert periods == [5, 10, 15, 20, 20]

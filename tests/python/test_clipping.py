"""Clipping through a real server against torch.nn.utils: of the mean, by value and by norm, and of every single push.

The model is plain SGD at rate 1 from zero weights, so after one step the weights are the negated gradient as the
rule saw it.
"""

import numpy as np
import pytest

import stepback

torch = pytest.importorskip("torch")

SEED = 20261128
SHAPES = {"w": (7, 33), "b": (33,), "scale": (1,)}
WORKERS = 3


def gradients(worker):
    """Norms from far below to far above the bounds."""
    rng = np.random.default_rng([SEED, worker])
    size = (0.01, 1.0, 40.0)[worker]
    return {name: (size * rng.standard_normal(shape)).astype(np.float32) for name, shape in SHAPES.items()}


def served(server, **clip):
    """What the rule saw of the mean of all workers' gradients."""
    model = server.create_model(
        "m",
        {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()},
        mode="gradient",
        inner=stepback.sgd(lr=1.0),
        outer=stepback.no_rule(),
        rounds=stepback.sync(quorum=WORKERS),
        clip=stepback.clip(**clip),
        durability="volatile",
    )
    workers = [model.join(f"w{i}") for i in range(WORKERS)]
    for i, worker in enumerate(workers):
        worker.pull()
        worker.push_gradient(gradients(i))
    return {name: -value for name, value in model.pull().items()}


def parameters(values):
    """Torch parameters with these gradients."""
    out = []
    for value in values.values():
        parameter = torch.nn.Parameter(torch.zeros(value.shape))
        parameter.grad = torch.from_numpy(np.array(value))
        out.append(parameter)
    return out


def mean(all_of_them):
    every = list(all_of_them)
    return {
        name: np.mean([each[name] for each in every], axis=0, dtype=np.float64).astype(np.float32)
        for name in SHAPES
    }


def assert_same(got, expected, what):
    for name, value in got.items():
        message = f"{what} {name}, seed {SEED}"
        np.testing.assert_allclose(value, expected[name], rtol=3e-6, atol=1e-6, err_msg=message)


def after(values, clip):
    """The gradients after one of torch's clipping functions."""
    of_torch = parameters(values)
    clip(of_torch)
    return {name: parameter.grad.numpy() for name, parameter in zip(values, of_torch)}


@pytest.mark.parametrize("bound", [0.05, 3.0, 1e4])
def test_the_global_norm_is_torchs(server, bound):
    expected = after(mean(map(gradients, range(WORKERS))), lambda ps: torch.nn.utils.clip_grad_norm_(ps, bound))
    assert_same(served(server, global_norm=bound), expected, bound)


@pytest.mark.parametrize("bound", [0.5, 1e4])
def test_the_value_is_torchs(server, bound):
    expected = after(mean(map(gradients, range(WORKERS))), lambda ps: torch.nn.utils.clip_grad_value_(ps, bound))
    assert_same(served(server, value=bound), expected, bound)


def test_values_come_before_norms(server):
    def clip(ps):
        torch.nn.utils.clip_grad_value_(ps, 2.0)
        torch.nn.utils.clip_grad_norm_(ps, 5.0)

    expected = after(mean(map(gradients, range(WORKERS))), clip)
    assert_same(served(server, value=2.0, global_norm=5.0), expected, "both")


@pytest.mark.parametrize("bound", [0.05, 3.0, 1e4])
def test_every_push_is_clipped_as_torch_clips_it_before_the_mean(server, bound):
    clipped = [after(gradients(i), lambda ps: torch.nn.utils.clip_grad_norm_(ps, bound)) for i in range(WORKERS)]
    assert_same(served(server, contribution_norm=bound), mean(clipped), bound)


def test_pushes_are_clipped_first_and_their_mean_after_that(server):
    clipped = [after(gradients(i), lambda ps: torch.nn.utils.clip_grad_norm_(ps, 10.0)) for i in range(WORKERS)]
    expected = after(mean(clipped), lambda ps: torch.nn.utils.clip_grad_norm_(ps, 2.0))
    assert_same(served(server, contribution_norm=10.0, global_norm=2.0), expected, "each, then all")


def test_the_global_norm_is_the_max_grad_norm_of_the_lamb_in_apex(server):
    """apex's FusedLAMB divides g by max(1, norm / max_grad_norm) itself; here that is the model's clip."""
    values = mean(map(gradients, range(WORKERS)))
    norm = np.sqrt(sum(np.sum(value.astype(np.float64) ** 2) for value in values.values()))
    weights = {name: np.ones(shape, np.float32) for name, shape in SHAPES.items()}
    model = server.create_model(
        "lamb",
        weights,
        mode="gradient",
        inner=stepback.lamb(lr=0.1, weight_decay=0.01),
        outer=stepback.no_rule(),
        clip=stepback.clip(global_norm=1.0),
        durability="volatile",
    )
    with model.join("w") as worker:
        worker.pull()
        worker.push_gradient(values)
    got = model.pull()
    for name, value in values.items():
        g = value.astype(np.float64) / max(1.0, norm / 1.0)
        u = g / (np.abs(g) + 1e-6) + 0.01 * weights[name]  # first step: m^ = g, sqrt(v^) = |g|
        ratio = np.linalg.norm(weights[name]) / np.linalg.norm(u)
        np.testing.assert_allclose(got[name], weights[name] - 0.1 * ratio * u, rtol=2e-5, atol=2e-6, err_msg=name)

"""Outer algorithms through a real server against a second implementation in NumPy (float64) from the papers.

The workers' training is the same function on both sides; everything that a server does (means, staleness,
momentum) is done twice.
"""

import numpy as np
import pytest

import stepback

WORKERS, SIZE, LOCAL_STEPS, ROUNDS, SEED = 4, 257, 10, 50, 20261128


def train(theta, worker, turn):
    """A few SGD steps on the worker's own noisy quadratic, in the precision of `theta`."""
    rng = np.random.default_rng([SEED, worker, turn])
    curvature = np.linspace(0.1, 1.0, SIZE)
    for _ in range(LOCAL_STEPS):
        target = np.sin(np.arange(SIZE) + worker) + 0.1 * rng.standard_normal(SIZE)
        theta = (theta - 0.1 * curvature * (theta - target)).astype(theta.dtype)
    return theta


def start():
    return np.random.default_rng(SEED).standard_normal(SIZE)


def assert_near(weights, expected, when):
    np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-5, err_msg=f"{when}, seed {SEED}")


class DiLoCo:
    """Douillard et al. 2023, algorithm 1, lines 9 to 12."""

    def __init__(self, phi, lr=0.7, momentum=0.9):
        self.phi, self.lr, self.momentum = phi, lr, momentum
        self.velocity = np.zeros_like(phi)

    def outer_step(self, thetas):
        gradient = self.phi - sum(thetas) / len(thetas)
        self.velocity = self.momentum * self.velocity + gradient
        self.phi = self.phi - self.lr * (gradient + self.momentum * self.velocity)


def test_diloco_with_four_workers_is_the_papers(server):
    reference = DiLoCo(start())
    model = server.create_model(
        "m",
        {"w": start().astype(np.float32)},
        outer=stepback.diloco(),
        rounds=stepback.sync(quorum=WORKERS),
        durability="volatile",
    )
    workers = [model.join(f"w{i}") for i in range(WORKERS)]
    for turn in range(ROUNDS):
        for i, worker in enumerate(workers):
            pushed = worker.push_weights({"w": train(worker.pull()["w"], i, turn)}, local_steps=LOCAL_STEPS)
        assert pushed.outcome == "applied"
        reference.outer_step([train(reference.phi, i, turn) for i in range(WORKERS)])
        assert_near(model.pull()["w"], reference.phi, f"round {turn}")
    assert model.describe().outer_steps == ROUNDS


class DelayedNesterov:
    """Liu et al. 2024, algorithm 3, with deltas against the worker's own base, weighed by age as in FedBuff."""

    def __init__(self, phi, workers, lr=0.7, momentum=0.9, c=0.0):
        self.phi, self.lr, self.momentum, self.c, self.n = phi, lr, momentum, c, workers
        self.buffer, self.velocity, self.version = np.zeros_like(phi), np.zeros_like(phi), 0

    def receive(self, base, base_version, theta):
        age = self.version - base_version
        delta = (base - theta) / np.sqrt(1.0 + age)
        self.buffer = self.buffer + delta
        self.version += 1
        if self.version % self.n == 0:
            self.velocity = self.momentum * self.velocity + self.buffer / self.n
            self.buffer = np.zeros_like(self.buffer)
            share = 1 - self.c * self.n + self.c
        else:
            share = self.c
        self.phi = self.phi - self.lr * (share * self.momentum * self.velocity + delta / self.n)
        return age


@pytest.mark.parametrize("spread", [0.0, 0.1])
def test_asynchronous_delayed_nesterov_follows_a_recorded_order_of_arrival(server, spread):
    arrivals = np.random.default_rng(SEED).choice(WORKERS, size=ROUNDS * WORKERS, p=[0.45, 0.3, 0.15, 0.1])
    reference = DelayedNesterov(start(), WORKERS, lr=0.5, momentum=0.6, c=spread)
    bases = [(reference.phi, 0)] * WORKERS
    model = server.create_model(
        "m",
        {"w": start().astype(np.float32)},
        outer=stepback.delayed_nesterov(0.5, 0.6, workers=WORKERS, spread=spread),
        rounds=stepback.asynchronous(100, staleness=stepback.staleness("polynomial")),
        durability="volatile",
    )
    workers = [model.join(f"w{i}") for i in range(WORKERS)]
    pulled = [worker.pull()["w"] for worker in workers]
    oldest = 0
    for turn, i in enumerate(arrivals):
        pushed = workers[i].push_weights({"w": train(pulled[i], i, turn)}, local_steps=LOCAL_STEPS)
        pulled[i] = workers[i].pull()["w"]
        base, version = bases[i]
        age = reference.receive(base, version, train(base, i, turn))
        bases[i] = (reference.phi, reference.version)
        assert (pushed.outcome, pushed.staleness) == ("applied", age)
        assert_near(pulled[i], reference.phi, f"push {turn}")
        oldest = max(oldest, age)
    assert oldest > 2 * WORKERS, "the order of arrival was to leave someone behind"


def test_presets_are_the_servers(server):
    """The functions of the package and the table of the server say the same, value by value."""
    presets = server.list_rules().presets
    assert {"diloco", "fedadam", "lookahead", "slowmo", "snoo"} <= {preset.name for preset in presets}
    for preset in presets:
        assert getattr(stepback, preset.name)() == preset.outer, preset.name
        assert preset.doc and preset.citation


@pytest.mark.parametrize(
    "name", ["bmuf", "delayed_nesterov", "fedadagrad", "fedadam", "fedbuff", "fedyogi", "slowmo"]
)
def test_a_preset_makes_a_model_that_trains(server, name):
    preset = {preset.name: preset for preset in server.list_rules().presets}[name]
    model = server.create_model(
        "m",
        {"w": np.ones(8, np.float32)},
        outer=preset.outer,
        rounds=preset.rounds,
        sync_period=preset.sync_period,
        mode=preset.mode or "delta",
    )
    with model.join("w0") as worker:
        assert worker.local_steps == preset.sync_period
        weights = worker.pull()["w"]
        for _ in range(preset.rounds.buffer_pushes if preset.rounds.policy == "buffered" else 3):
            worker.push_weights({"w": weights - np.float32(0.5)})
            weights = worker.pull()["w"]
    assert np.all(model.pull()["w"] < 1)


def test_slow_workers_are_told_to_run_fewer_steps(server):
    model = server.create_model(
        "m",
        {"w": np.ones(8, np.float32)},
        outer=stepback.average(0.1),
        rounds=stepback.asynchronous(dynamic_local_steps=True),
        sync_period=100,
    )
    with model.join("fast") as fast, model.join("slow") as slow:
        assert fast.local_steps == slow.local_steps == 100
        for _ in range(2):  # the slow one runs a hundredth of the steps in about the same time
            for worker, steps in ((fast, 100), (slow, 1)):
                pushed = worker.push_weights(worker.pull(), local_steps=steps)
        assert 1 <= slow.local_steps == pushed.local_steps < 100
        assert f"next {slow.local_steps} local steps" in pushed.reason


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rounds": stepback.sync(grace_factor=2)}, "quorum at least 2"),
        ({"rounds": stepback.asynchronous(staleness=stepback.staleness("hing"))}, "did you mean 'hinge'"),
        ({"rounds": stepback.asynchronous(staleness=stepback.staleness("exponential", gamma=2))}, r"\(0, 1\]"),
        ({"rounds": stepback.asynchronous(dynamic_local_steps=True)}, "sync_period"),
        ({"outer": stepback.delayed_nesterov(workers=4, spread=0.5)}, "at most 1 / delay = 0.25"),
        ({"outer": stepback.fedadam(tau=0)}, r"expected a number in \(0,"),
        ({"outer": stepback.rule("fedadam")}, "did you mean 'fed_adam'"),
        ({"sync_period_schedule": stepback.schedule("linear")}, "without spec.sync_period"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(server, arguments, message):
    with pytest.raises(stepback.InvalidArgumentError, match=message):
        server.create_model("m", {"w": np.ones(2, np.float32)}, **arguments)


class FedAsync:
    """Xie et al. 2019, algorithm 1: the weights of a worker mix with those of the moment, by age."""

    def __init__(self, phi, alpha, exponent):
        self.phi, self.alpha, self.exponent, self.version = phi, alpha, exponent, 0

    def receive(self, base_version, theta):
        age = self.version - base_version
        share = self.alpha * (1.0 + age) ** -self.exponent
        self.phi = (1 - share) * self.phi + share * theta
        self.version += 1
        return age


def test_fedasync_mixes_the_weights_of_a_recorded_order_of_arrival(server):
    arrivals = np.random.default_rng(SEED).choice(WORKERS, size=ROUNDS * WORKERS, p=[0.45, 0.3, 0.15, 0.1])
    reference = FedAsync(start(), alpha=0.6, exponent=0.5)
    bases = [(reference.phi, 0)] * WORKERS
    model = server.create_model(
        "m",
        {"w": start().astype(np.float32)},
        outer=stepback.fedasync(),
        rounds=stepback.asynchronous(100, staleness=stepback.staleness("polynomial", exponent=0.5)),
        durability="volatile",
    )
    workers = [model.join(f"w{i}") for i in range(WORKERS)]
    assert workers[0].settings.takes_weights
    pulled = [worker.pull()["w"] for worker in workers]
    for turn, i in enumerate(arrivals):
        pushed = workers[i].push_weights({"w": train(pulled[i], i, turn)}, local_steps=LOCAL_STEPS)
        pulled[i] = workers[i].pull()["w"]
        base, version = bases[i]
        age = reference.receive(version, train(base, i, turn))
        bases[i] = (reference.phi, reference.version)
        assert (pushed.outcome, pushed.staleness) == ("applied", age)
        assert_near(pulled[i], reference.phi, f"push {turn}")


def test_fedasync_takes_no_form_for_differences_and_no_feedback(server):
    model = server.create_model(
        "m", {"w": np.zeros(8, np.float32)}, outer=stepback.fedasync(), rounds=stepback.asynchronous()
    )
    with pytest.raises(ValueError, match="codec is 'sign'.*takes weights"):
        model.join("w0", push_codec="sign")
    with pytest.raises(ValueError, match="error_feedback is for deltas"):
        model.join("w0", push_codec="int8", error_feedback=True)
    with model.join("w0", push_codec="bf16") as worker:
        worker.pull()
        worker.step({"w": np.ones(8, np.float32)})
        np.testing.assert_allclose(model.pull()["w"], 0.6, rtol=1e-6)

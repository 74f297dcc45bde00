"""Robust aggregation over gRPC: linear regression with a known optimum, ten workers, two of them hostile."""

import numpy as np
import pytest

import stepback

PARAMETERS = 40
WORKERS = 10
HOSTILE = ("worker-2", "worker-7")  # 20 %
ROUNDS = 10
SAMPLES = 300  # that a worker draws for a round
LOCAL_STEPS, RATE = 10, 0.2
SEED = 7

OPTIMUM = np.random.default_rng(SEED).standard_normal(PARAMETERS) * 1.5

# What a hostile worker hands over instead of the weights it trained.
ATTACKS = {
    "sign flip": lambda trained: -trained,
    "x1000": lambda trained: 1000 * trained,
    "zeros": np.zeros_like,
}

DEFENCES = {
    "trimmed_mean": stepback.trimmed_mean(0.2),
    "krum": stepback.krum(f=2),
    "multi_krum": stepback.multi_krum(f=2),
    "coordinate_median": stepback.coordinate_median(),
}


def population_loss(weights):
    """E (x w - y)^2 / 2 for x ~ N(0, 1) and y = x optimum + N(0, 1): 1/2 at the optimum, strictly convex."""
    return (1 + float(np.sum((weights - OPTIMUM) ** 2))) / 2


def train(weights, random):
    """Gradient descent on fresh samples; full batch, so that only the samples differ between workers."""
    x = random.standard_normal((SAMPLES, PARAMETERS))
    y = x @ OPTIMUM + random.standard_normal(SAMPLES)
    w = weights.astype(np.float64)
    for _ in range(LOCAL_STEPS):
        w = w - RATE * (x.T @ (x @ w - y)) / SAMPLES
    return w.astype(np.float32)


def run(server, name, aggregator=None, attack=None):
    """The population loss after ROUNDS rounds."""
    random = np.random.default_rng(SEED)
    print(f"{name}: seed {SEED}")
    start = {"w": np.zeros(PARAMETERS, np.float32)}
    rounds = stepback.sync(quorum=WORKERS, aggregator=aggregator)
    model = server.create_model(name, start, outer=stepback.average(1.0), rounds=rounds)
    assert model.info.rounds == rounds
    workers = [model.join(f"worker-{i}") for i in range(WORKERS)]
    for _ in range(ROUNDS):
        for worker in workers:
            trained = train(worker.pull()["w"], random)
            if attack is not None and worker.client_id in HOSTILE:
                trained = ATTACKS[attack](trained)
            worker.push_weights({"w": trained})
    final = workers[0].pull()
    assert final.info.outer_steps == ROUNDS
    for worker in workers:
        worker.close()
    return population_loss(final["w"])


@pytest.mark.parametrize("attack", ATTACKS)
def test_robust_aggregators_stay_near_the_clean_loss_and_the_mean_does_not(server, attack):
    clean = run(server, "clean")
    assert clean < 0.6, "without attackers the mean all but finds the optimum"
    assert run(server, "mean", attack=attack) > 2 * clean
    for name, aggregator in DEFENCES.items():
        loss = run(server, name, aggregator, attack)
        assert loss <= 2 * clean, f"{name} under {attack}: {loss} against {clean}"


def test_clipping_to_the_median_norm_stops_those_that_are_too_large(server):
    clean = run(server, "clean")
    mean = run(server, "mean", attack="x1000")
    clipped = run(server, "clipped", stepback.median_norm_clip(), "x1000")
    assert clipped <= 2 * clean
    assert mean > 1e6 * clipped


def test_bulyan_holds_with_one_attacker_in_seven(server):
    rounds = stepback.sync(quorum=7, aggregator=stepback.bulyan(f=1))
    model = server.create_model("m", {"w": np.zeros(3, np.float32)}, outer=stepback.average(), rounds=rounds)
    workers = [model.join(f"worker-{i}") for i in range(7)]
    for i, worker in enumerate(workers):
        worker.pull()
        worker.push_weights({"w": np.full(3, 1e6 if i == 4 else 1 + i / 100, np.float32)})
    np.testing.assert_allclose(workers[0].pull()["w"], [1.03] * 3, atol=0.02)


def test_what_does_not_suit_an_aggregator_is_refused_with_field_value_and_bound(server):
    def create(rounds):
        server.create_model("m", {"w": np.zeros(3, np.float32)}, rounds=rounds)

    for rounds, message in [
        (
            stepback.sync(quorum=4, aggregator=stepback.krum(f=1)),
            "spec.rounds.quorum is 4, expected at least 5",
        ),
        (
            stepback.sync(aggregator=stepback.rule("krumm")),
            "'krumm' is no aggregator; did you mean 'krum'",
        ),
        (
            stepback.sync(aggregator=stepback.trimmed_mean(0.5)),
            r"beta is 0.5, expected a number in \[0, 0.5\)",
        ),
        (
            stepback.sync(reduction="running", aggregator=stepback.coordinate_median()),
            "spec.rounds.reduction is RUNNING, expected ORDERED",
        ),
        (
            stepback.sync(weighting="samples", aggregator=stepback.coordinate_median()),
            "spec.rounds.weighting is SAMPLES, expected EQUAL",
        ),
        (
            stepback.buffered(pushes=8, aggregator=stepback.bulyan(f=2)),
            "spec.rounds.buffer_pushes is 8, expected at least 11",
        ),
    ]:
        with pytest.raises(stepback.InvalidArgumentError, match=message):
            create(rounds)


def test_f_changes_while_the_model_runs_and_stays_within_its_bounds(server):
    rounds = stepback.sync(quorum=5, aggregator=stepback.krum(f=1))
    model = server.create_model("m", {"w": np.zeros(3, np.float32)}, rounds=rounds)
    with pytest.raises(stepback.InvalidArgumentError, match="spec.rounds.quorum is 5, expected at least 7"):
        model.update({"rounds.aggregator.f": 2})
    model.update({"rounds.aggregator.f": 2, "rounds.quorum": 7})
    assert model.describe().rounds.aggregator == stepback.krum(f=2)


def test_a_push_with_a_nan_never_reaches_the_aggregator(server):
    rounds = stepback.sync(quorum=3, aggregator=stepback.coordinate_median())
    model = server.create_model("m", {"w": np.zeros(3, np.float32)}, rounds=rounds)
    with model.join("worker-0") as worker:
        worker.pull()
        with pytest.raises(stepback.NonFiniteError):
            worker.push_weights({"w": np.full(3, np.nan, np.float32)})


def test_the_list_of_rules_has_the_aggregators(server):
    listed = {rule.name: rule for rule in server.list_rules().rules if rule.kind == "aggregator"}
    assert {"mean", "krum", "multi_krum", "bulyan", "coordinate_median", "trimmed_mean"} <= set(listed)
    assert "median_norm_clip" in listed
    assert [hyper.name for hyper in listed["multi_krum"].hypers] == ["f", "m"]
    assert "2 f + 3" in listed["krum"].hypers[0].doc and "Blanchard" in listed["krum"].citation

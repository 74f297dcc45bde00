"""Fragments (Streaming DiLoCo) over gRPC, against a second implementation in plain NumPy."""

import threading

import numpy as np
import pytest
from conftest import TIMEOUT, until

import stepback

SEED = 20


# --- an independent DiLoCo: fp64, no server ---


class PlainFragment:
    """One fragment's slow weights and outer Nesterov momentum."""

    def __init__(self, phi):
        self.phi = {name: value.astype(np.float64) for name, value in phi.items()}
        self.b = {name: np.zeros_like(value) for name, value in self.phi.items()}

    def outer_step(self, deltas, rate=0.7, momentum=0.9):
        for name in self.phi:
            mean = sum(delta[name] for delta in deltas) / len(deltas)
            self.b[name] = momentum * self.b[name] + mean
            self.phi[name] = self.phi[name] - rate * (mean + momentum * self.b[name])


def plain_streaming_diloco(start, parts, offsets, workers, period, steps, overlap, mixing, train):
    """Every worker's fast weights and the slow weights after `steps` local steps each.

    After local step t: take what was sent at t - overlap, then send the fragments with t mod H = offset.
    """
    slow = [PlainFragment({name: start[name] for name in part}) for part in parts]
    theta = [{name: value.astype(np.float64) for name, value in start.items()} for _ in range(workers)]
    base = [{name: value.astype(np.float64) for name, value in start.items()} for _ in range(workers)]
    under_way = {}
    for t in range(1, steps + 1):
        for worker in range(workers):
            train(worker, t, theta[worker])
        for index in [i for i, sent in under_way.items() if sent == t - overlap]:
            del under_way[index]
            for worker in range(workers):
                for name, phi in slow[index].phi.items():
                    base[worker][name] = phi.copy()
                    theta[worker][name] = mixing * theta[worker][name] + (1 - mixing) * phi
        for index, part in enumerate(parts):
            if t % period != offsets[index]:
                continue
            slow[index].outer_step([{n: base[w][n] - theta[w][n] for n in part} for w in range(workers)])
            under_way[index] = t
    return theta, {name: value for fragment in slow for name, value in fragment.phi.items()}


# --- a problem: every worker has a quadratic of its own, trained with momentum ---

SHAPES = {f"layer{i}.{kind}": shape for i in range(8) for kind, shape in (("w", (3, 5)), ("b", (5,)))}


class Quadratics:
    """theta -= rate m, m <- 0.8 m + scale (theta - target); in the precision of what it is given."""

    def __init__(self, workers, seed=SEED):
        random = np.random.default_rng(seed)
        print(f"seed {seed}")
        self.start = {name: random.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
        self._problems = [
            {name: (random.uniform(0.1, 1, shape), random.standard_normal(shape)) for name, shape in SHAPES.items()}
            for _ in range(workers)
        ]
        self._momentum = [{} for _ in range(workers)]

    def train(self, worker, t, theta):
        for name, (scale, target) in self._problems[worker].items():
            gradient = scale * (theta[name] - target) * (1 + 0.3 * np.sin(t))
            momentum = 0.8 * self._momentum[worker].get(name, 0) + gradient
            self._momentum[worker][name] = momentum
            theta[name][...] = theta[name] - 0.02 * momentum


def strided(count):
    """Layer i is in fragment i mod `count`: not contiguous in the table."""
    return [[name for name in SHAPES if int(name[5]) % count == f] for f in range(count)]


def test_streaming_diloco_agrees_with_plain_numpy(server):
    workers, period, rounds, overlap, mixing = 4, 12, 50, 1, 0.5
    parts, offsets = strided(8), [0, 1, 3, 4, 6, 7, 9, 10]
    problem, plain = Quadratics(workers), Quadratics(workers)
    steps = period * rounds
    model = server.create_model(
        "lm",
        problem.start,
        outer=stepback.diloco(),
        rounds=stepback.sync(quorum=workers),
        sync_period=period,
        fragments=stepback.fragments(parts, offsets=offsets, overlap_steps=overlap, mixing=mixing),
    )
    joined = [model.join(f"worker-{i}") for i in range(workers)]
    theta = [{name: value.copy() for name, value in worker.pull().items()} for worker in joined]
    streaming = [stepback.StreamingSync(worker) for worker in joined]
    for t in range(1, steps + 1):
        for i in range(workers):
            problem.train(i, t, theta[i])
        for i in range(workers):
            streaming[i].step(theta[i])

    expected_theta, expected_phi = plain_streaming_diloco(
        plain.start, parts, offsets, workers, period, steps, overlap, mixing, plain.train
    )
    # The last result is under way: it is in phi, and not in theta yet.
    for i in range(workers):
        assert streaming[i].finish({name: value.copy() for name, value in theta[i].items()}) == [0]
    phi = model.pull()
    worst = max(np.abs(phi[name] - expected_phi[name]).max() for name in SHAPES)
    for i in range(workers):
        worst = max([worst] + [np.abs(theta[i][name] - expected_theta[i][name]).max() for name in SHAPES])
    print(f"largest difference after {rounds} rounds: {worst:.2e}")
    assert worst < 1e-5
    moved = max(np.abs(phi[name] - plain.start[name]).max() for name in SHAPES)
    assert moved > 0.5, "the comparison is of weights that went somewhere"

    info = model.describe()
    # Offset 0 is due at H for the first time, the others before: all have made as many outer steps.
    assert [fragment.outer_steps for fragment in info.fragments] == [rounds] * 8
    assert info.outer_steps == info.version.counter == 8 * rounds
    assert info.inner_steps == max(fragment.inner_steps for fragment in info.fragments) == workers * period * rounds
    assert [fragment.offset for fragment in info.fragments] == offsets


def test_a_worker_trains_on_while_its_fragment_is_under_way(server):
    model = server.create_model(
        "m",
        {"a": np.ones(4, np.float32), "b": np.ones(2, np.float32)},
        outer=stepback.average(1.0),
        rounds=stepback.sync(quorum=2),
        sync_period=4,
        fragments=stepback.fragments(2),
    )
    one, two = model.join("one"), model.join("two")
    weights = one.pull()
    two.pull()
    one.begin_fragment(0, {**weights, "a": weights["a"] + 2})
    weights["a"][:] = 50  # not what was sent
    with pytest.raises(ValueError, match="fragment 0 is under way"):
        one.begin_fragment(0, weights)
    until(lambda: model.sessions()[0].contributed, "the push of fragment 0")
    taken = two.step_fragment(0, {"a": np.ones(4, np.float32) + 4})
    assert list(taken) == ["a"] and taken["a"].tolist() == [4.0] * 4
    assert one.finish_fragment(0, timeout=TIMEOUT)["a"].tolist() == [4.0] * 4
    with pytest.raises(ValueError, match="fragment 0 is not under way"):
        one.finish_fragment(0)
    # The other fragment has not changed: its version is the first one.
    first, second = model.describe().fragments
    assert (first.version.counter, second.version.counter) == (1, 0)
    assert model.pull(fragment=1, since=stepback.Version(1, 0)) == {}
    assert list(model.pull(fragment=0, since=stepback.Version(1, 0))) == ["a"]


# --- a fragment is a model of its own ---

OUTER = [
    stepback.diloco(),
    stepback.average(0.5),
    stepback.heavy_ball(),
    stepback.fedadam(),
    stepback.fedyogi(),
    stepback.fedadagrad(),
    stepback.bmuf(),
    stepback.slowmo(inner_lr=0.1),
    stepback.delayed_nesterov(workers=2),
    stepback.nesterov().scheduled("lr", "exponential", gamma=0.8),
]


def random_table(random):
    shapes = [tuple(random.integers(1, 9, size=random.integers(0, 3))) for _ in range(random.integers(3, 9))]
    return {f"t{i}": random.standard_normal(shape).astype(np.float32) for i, shape in enumerate(shapes)}


@pytest.mark.parametrize("seed", range(len(OUTER)))
def test_a_fragment_is_a_model_of_its_own_bit_for_bit(server, seed):
    """Whatever the outer rule, the codec and the order of the syncs, a fragment does what a model of only its
    tensors does."""
    random = np.random.default_rng(seed)
    table = random_table(random)
    size = int(random.integers(2, len(table) + 1))
    of = random.permutation([*range(size), *random.integers(0, size, len(table) - size)])
    parts = [[name for name, f in zip(table, of) if f == p] for p in range(size)]
    # Codecs that draw take their numbers from the model's name and the tensor's place: two models, two draws.
    drawing = ("bf16_sr", "random_k")
    codecs = [codec.name for codec in server.list_rules().codecs if codec.name not in drawing]
    codec = codecs[int(random.integers(len(codecs)))]
    feedback = bool(random.integers(2))
    workers = int(random.integers(1, 4))
    settings = {
        "outer": OUTER[seed],
        "rounds": stepback.sync(quorum=workers, reduction="ordered"),
        "roles": {name: "averaged" for name in table if random.integers(4) == 0},
        "clip": stepback.clip(global_norm=1.0) if random.integers(2) else None,
    }
    print(f"seed {seed}: {size} fragments, {codec}, feedback {feedback}, {workers} workers, {OUTER[seed].name}")
    join = {"push_codec": codec, "error_feedback": feedback}

    model = server.create_model("whole", table, fragments=stepback.fragments(parts), **settings)
    whole = [model.join(f"worker-{i}", **join) for i in range(workers)]
    for worker in whole:
        worker.pull()
    lone, alone = [], []
    for p, part in enumerate(parts):
        roles = {name: role for name, role in settings["roles"].items() if name in part}
        own = server.create_model(
            f"part-{p}", {name: table[name] for name in part}, **{**settings, "roles": roles}
        )
        lone.append(own)
        alone.append([own.join(f"worker-{i}", **join) for i in range(workers)])
        for worker in alone[-1]:
            worker.pull()

    for _ in range(12):
        p = int(random.integers(size))
        before = lone[p].pull()
        trained = [
            {name: before[name] + random.standard_normal(before[name].shape).astype(np.float32) for name in parts[p]}
            for _ in range(workers)
        ]
        for i, worker in enumerate(whole):
            worker.begin_fragment(p, trained[i])
        got = [worker.finish_fragment(p, timeout=TIMEOUT) for worker in whole]
        threads = [
            threading.Thread(target=alone[p][i].step, args=(trained[i],)) for i in range(workers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        expected = lone[p].pull()
        for weights in got:
            assert sorted(weights) == sorted(parts[p])
            for name in parts[p]:
                np.testing.assert_array_equal(weights[name], expected[name])
    final = model.pull()
    for p in range(size):
        for name, value in lone[p].pull().items():
            np.testing.assert_array_equal(final[name], value)


@pytest.mark.parametrize("size", [1, 3])
def test_fragments_that_sync_together_are_the_model_that_syncs_as_a_whole(server, size):
    start = {name: np.arange(n, dtype=np.float32) for name, n in (("a", 3), ("b", 4), ("c", 5))}
    random = np.random.default_rng(SEED)
    plain = server.create_model("plain", start, outer=stepback.diloco())
    cut = server.create_model("cut", start, outer=stepback.diloco(), fragments=stepback.fragments(size))
    with plain.join("w") as one, cut.join("w") as other:
        weights = one.pull()
        other.pull()
        for _ in range(5):
            trained = {n: v + random.standard_normal(v.shape).astype(np.float32) for n, v in weights.items()}
            weights = one.step(trained)
            for index in range(size):
                for name, value in other.step_fragment(index, trained).items():
                    np.testing.assert_array_equal(value, weights[name])


# --- restart ---


def test_pushes_in_open_rounds_survive_a_crash_and_count_once(process):
    """A push of one fragment waits in an open round while another fragment's commit reaches the disk: after a
    crash the first is sent again under its number, the second is not."""
    start = {name: np.zeros(2, np.float32) for name in ("a", "b", "c")}
    with process.connect(give_up_after=TIMEOUT) as server:
        model = server.create_model(
            "m",
            start,
            outer=stepback.average(1.0),
            rounds=stepback.sync(quorum=2),
            fragments=stepback.fragments([["a"], ["b"], ["c"]]),
        )
        one, two = model.join("one"), model.join("two")
        one.pull()
        two.pull()
        moved = {name: np.full(2, value, np.float32) for name, value in (("a", 2), ("b", 4), ("c", 6))}
        assert one.push_weights(moved, fragment=0).outcome == "buffered"
        assert one.push_weights(moved, fragment=1).outcome == "buffered"
        assert two.push_weights(moved, fragment=1).outcome == "applied"
        model.save_snapshot()
        process.kill()
        process.start()
        # The first call of each brings it back into the model, with everything that the server has lost.
        assert one.pull()["b"].tolist() == [4, 4] and one.statistics.replays == 1
        assert one.durable_sequence == 0 and one.last_sequence == 2
        assert two.pull(fragment=0)["a"].tolist() == [0, 0]
        assert two.statistics.replays == 0 and two.last_sequence == 1
        assert two.push_weights({"a": np.full(2, 4, np.float32)}, fragment=0).outcome == "applied"
        weights = model.pull()
        assert weights["a"].tolist() == [3, 3], "the mean of both workers' pushes, each once"
        assert weights["b"].tolist() == [4, 4] and weights["c"].tolist() == [0, 0]
        fragments = model.describe().fragments
        assert [fragment.outer_steps for fragment in fragments] == [1, 1, 0]
        assert [str(fragment.version) for fragment in fragments] == ["2.2", "1.1", "1.0"]
        # Numbers go on, and everything that was decided is now on the disk.
        model.flush()
        assert one.push_weights(moved, fragment=2).sequence == 3
        two.pull()
        assert two.push_weights(moved, fragment=2).outcome == "applied"


def test_fragments_and_their_momentum_survive_a_restart_bit_for_bit(process):
    random = np.random.default_rng(SEED)
    start = {name: random.standard_normal(5).astype(np.float32) for name in ("a", "b", "c")}

    def train(worker, index):
        weights = worker.pull(fragment=index)
        moved = {name: value * np.float32(0.9) for name, value in weights.items()}
        return worker.step_fragment(index, moved)

    with process.connect(give_up_after=TIMEOUT) as server:
        models = [
            server.create_model(name, start, outer=stepback.fedadam(), fragments=stepback.fragments(3))
            for name in ("restarted", "not")
        ]
        workers = [model.join("w") for model in models]
        order = [0, 1, 0, 2, 0, 1]
        for index in order:
            train(workers[0], index)
        models[0].save_snapshot()
        process.stop()
        process.start()
        for index in order:
            train(workers[0], index)
        for index in order + order:
            train(workers[1], index)
        one, other = (model.describe() for model in models)
        assert [f.outer_steps for f in one.fragments] == [f.outer_steps for f in other.fragments] == [6, 4, 2]
        for name, value in models[1].pull().items():
            np.testing.assert_array_equal(models[0].pull()[name], value)


# --- staleness, averages, settings ---


def test_staleness_counts_the_fragments_own_steps(server):
    start = {"a": np.zeros(2, np.float32), "b": np.zeros(2, np.float32)}
    model = server.create_model(
        "m",
        start,
        outer=stepback.average(1.0),
        rounds=stepback.asynchronous(max_staleness=1),
        fragments=stepback.fragments(2),
    )
    fast, slow = model.join("fast"), model.join("slow")
    fast.pull()
    slow.pull()
    one = {"a": np.ones(2, np.float32), "b": np.ones(2, np.float32)}
    for _ in range(5):
        fast.step_fragment(0, one)
    # Five versions later, but of the other fragment.
    assert slow.push_weights(one, fragment=1).staleness == 0
    refused = slow.push_weights(one, fragment=0)
    assert refused.outcome == "resynced" and "staleness 5, max_staleness 1" in refused.reason
    assert "step 0 of fragment 0" in refused.reason
    slow.pull(fragment=0)
    fast.step_fragment(0, one)
    assert slow.push_weights(one, fragment=0).staleness == 1


def test_an_average_takes_a_sample_when_every_fragment_has_synced(server):
    start = {"a": np.zeros(1, np.float32), "b": np.zeros(1, np.float32)}
    model = server.create_model(
        "m",
        start,
        outer=stepback.average(1.0),
        fragments=stepback.fragments(2),
        averages={"mean": stepback.polyak()},
    )
    with model.join("w") as worker:
        worker.pull()
        for value in (2, 4):
            worker.step_fragment(0, {"a": np.full(1, value, np.float32)})
            worker.step_fragment(0, {"a": np.full(1, value + 1, np.float32)})
            worker.step_fragment(1, {"b": np.full(1, value, np.float32)})
    mean = model.pull(view="average:mean")
    assert (mean["a"].tolist(), mean["b"].tolist()) == ([4.0], [3.0])  # of (3, 2) and (5, 4)


def test_overlap_and_mixing_change_while_a_model_runs(server):
    model = server.create_model(
        "m", {"a": np.zeros(2, np.float32), "b": np.zeros(2, np.float32)}, sync_period=8,
        fragments=stepback.fragments(2, overlap_steps=1),
    )
    with model.join("w") as worker:
        assert (worker.settings.fragments, worker.settings.overlap_steps, worker.settings.mixing) == (2, 1, 0.5)
        model.update({"fragments.overlap_steps": 3, "fragments.mixing": 0.25})
        worker.pull()
        assert (worker.settings.overlap_steps, worker.settings.mixing) == (3, 0.25)
        assert [fragment.offset for fragment in worker.fragments] == [0, 4]
    with pytest.raises(ValueError, match=r"overlap_steps is 4 with 2 fragments, .* 8 / 2"):
        model.update({"fragments.overlap_steps": 4})
    assert model.describe().settings_version == 2


# --- bad input ---

TENSORS = {"a": np.zeros(2, np.float32), "b": np.zeros(2, np.float32), "f": np.zeros(2, np.float32)}
ROLES = {"f": "frozen"}


@pytest.mark.parametrize(
    "fragments, more, message",
    [
        (stepback.fragments(3), {}, r"fragments.count is 3, expected at most 2"),
        (stepback.fragments(257), {}, r"fragments.count is 257, expected 1..256"),
        (stepback.fragments(2), {"mode": "gradient"}, r"spec.fragments is set in GRADIENT mode"),
        (stepback.fragments(2, mixing=1.5), {}, r"fragments.mixing is 1.5, expected 0..1"),
        (stepback.fragments(2, mixing=float("nan")), {}, r"fragments.mixing is nan, expected 0..1"),
        (stepback.fragments(2, overlap_steps=2), {"sync_period": 4}, r"overlap_steps is 2 with 2 fragments"),
        (stepback.fragments(2, overlap_steps=1), {}, r"overlap_steps is 1 with 2 fragments"),
        (stepback.fragments([["a"], ["b"]], offsets=[0, 4]), {"sync_period": 4}, r"parts\[1\].offset is 4, .* 4"),
        (stepback.fragments([["a"], ["x"]]), {}, r"parts\[1\] names tensor 'x', which the model has not"),
        (stepback.fragments([["a"], ["b", "f"]]), {}, r"parts\[1\] names tensor 'f', which is frozen"),
        (stepback.fragments([["a"]]), {}, r"fragments.parts lacks tensor 'b'"),
        (stepback.fragments([["a", "b"], ["a"]]), {}, r"parts\[1\] names tensor 0 .* in a fragment already"),
        (stepback.fragments([["a", "b"], []]), {}, r"parts\[1\] gives a fragment without elements"),
        (stepback.Fragments(2, (stepback.FragmentPart(("a",)),)), {}, r"both count 2 and 1 parts"),
        (stepback.Fragments(mixing=0.5), {}, r"spec.fragments has neither count nor parts"),
        (
            stepback.fragments(2),
            {"averages": {"r": stepback.rna()}},
            r"averages\[0\].rule is 'rna', which looks at syncs of the whole model",
        ),
    ],
)
def test_fragments_that_do_not_fit_are_refused(server, fragments, more, message):
    with pytest.raises(stepback.InvalidArgumentError, match=message):
        server.create_model("m", TENSORS, roles=ROLES, fragments=fragments, **more)
    assert server.list_models() == []


def test_calls_for_fragments_that_there_are_not_are_refused(server):
    cut = server.create_model("cut", TENSORS, roles=ROLES, fragments=stepback.fragments(2))
    plain = server.create_model("plain", TENSORS, roles=ROLES)
    with cut.join("w") as worker, plain.join("w") as other:
        weights = worker.pull()
        other.pull()
        with pytest.raises(ValueError, match="model 'cut': fragment is 2, expected 0..1"):
            worker.step_fragment(2, weights)
        with pytest.raises(ValueError, match="model 'cut' has fragments: a push is of one of them, fragment 0..1"):
            worker.step(weights)
        with pytest.raises(ValueError, match="model 'plain': fragment is 0, the model has no fragments"):
            other.step_fragment(0, weights)
        with pytest.raises(ValueError, match="model 'plain': fragment is 0, the model has no fragments"):
            other.push_weights(weights, fragment=0)
        with pytest.raises(ValueError, match="model 'cut': fragment is 7, expected 0..1"):
            cut.pull(fragment=7)
        with pytest.raises(ValueError, match="model 'cut' has no tensor 'x'"):
            worker.step_fragment(0, {"a": weights["a"], "x": weights["a"]})
        with pytest.raises(ValueError, match="ranks is 2 .* one rank without ranges"):
            cut.join("w2", ranks=2)
        assert worker.last_sequence == other.last_sequence == 0
        assert list(worker.step_fragment(1, weights)) == ["b"]


# --- torch ---


def test_diloco_streams_a_module(server):
    """Two modules in two threads, trained by DiLoCo with fragments, against the plain implementation."""
    torch = pytest.importorskip("torch")
    from stepback.torch import DiLoCo

    period, overlap, mixing, steps = 6, 1, 0.25, 31
    random = np.random.default_rng(SEED)
    targets = [torch.tensor(random.standard_normal((4, 3)), dtype=torch.float32) for _ in range(2)]
    start = torch.tensor(random.standard_normal((4, 3)), dtype=torch.float32)
    bias = torch.tensor(random.standard_normal(4), dtype=torch.float32)

    def module():
        layer = torch.nn.Linear(3, 4)
        with torch.no_grad():
            layer.weight.copy_(start)
            layer.bias.copy_(bias)
        return layer

    modules = [module() for _ in targets]
    both = threading.Barrier(2)

    def run(i):
        layer = modules[i]
        inner = torch.optim.SGD(layer.parameters(), lr=0.05)
        training = DiLoCo(
            layer, inner, server=server, run="lm", sync_every=period, rounds=stepback.sync(quorum=2),
            worker_id=f"worker-{i}", fragments=2, overlap_steps=overlap, mixing=mixing,
        )
        with training:
            both.wait(TIMEOUT)
            for _ in range(steps):
                inner.zero_grad()
                (((layer.weight - targets[i]) ** 2).sum() / 2 + (layer.bias**2).sum() / 2).backward()
                inner.step()
            assert training.syncs == 10 and training.resyncs == 0
            both.wait(TIMEOUT)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)

    def train(worker, t, theta):
        theta["weight"] -= 0.05 * (theta["weight"] - targets[worker].numpy())
        theta["bias"] -= 0.05 * theta["bias"]

    fragments = server.model("lm").info.fragments
    assert [fragment.offset for fragment in fragments] == [0, 3]
    expected, phi = plain_streaming_diloco(
        {"weight": start.numpy(), "bias": bias.numpy()},
        [["weight"], ["bias"]], [0, 3], 2, period, steps, overlap, mixing, train,
    )
    for i in range(2):
        for name, value in modules[i].named_parameters():
            np.testing.assert_allclose(value.detach().numpy(), expected[i][name], atol=1e-5)
    for name, value in server.model("lm").pull().items():
        np.testing.assert_allclose(value, phi[name], atol=1e-5)


def test_a_half_precision_module_streams_from_its_masters(server):
    torch = pytest.importorskip("torch")
    from stepback.torch import DiLoCo

    layer = torch.nn.Linear(2, 2).to(torch.bfloat16)
    with torch.no_grad():
        layer.weight.fill_(257.0)  # stored as 256: the grid is 2 wide there
        layer.bias.zero_()
    inner = torch.optim.SGD(layer.parameters(), lr=1.0)
    with DiLoCo(
        layer, inner, server=server, run="m", sync_every=2, outer=stepback.average(0.25), fragments=2
    ) as run:
        for _ in range(8):
            layer.weight.grad = torch.full((2, 2), -2.0, dtype=torch.bfloat16)
            layer.bias.grad = torch.zeros(2, dtype=torch.bfloat16)
            inner.step()
        assert run.syncs == 8
    # Each sync of the weight moves it by a quarter of what two steps made of it; nothing is lost to the grid.
    assert server.model("m").pull()["weight"].tolist() == [[260.0] * 2] * 2

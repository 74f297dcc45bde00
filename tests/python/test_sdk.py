"""The SDK against a real server over gRPC: both kinds of push, rounds, settings, snapshots, errors."""

import json
import os
import signal
import threading

import numpy as np
import pytest
import torch
from conftest import TIMEOUT, assert_same, small_weights, until

import stepback


def shifted(weights, amount):
    return {name: value + np.float32(amount) for name, value in weights.items()}


def in_thread(call):
    """Runs `call` in a thread; the returned function waits for its result."""
    results = []

    def run():
        try:
            results.append((call(), None))
        except BaseException as error:
            results.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def result():
        thread.join(TIMEOUT)
        assert not thread.is_alive(), "the call did not return"
        value, error = results[0]
        if error is not None:
            raise error
        return value

    return result


def contributed(model, worker_id):
    return any(session.client_id == worker_id and session.contributed for session in model.sessions())


def test_a_step_gives_back_what_the_outer_rule_makes_of_the_weights(server):
    weights = small_weights()
    model = server.create_model("m", weights, outer=stepback.average(0.5))
    assert model.created and model.name == "m"
    with model.join("w0") as worker:
        base = worker.pull()
        assert_same(base, weights)
        assert base.version == worker.version == model.info.version
        new = worker.step(shifted(base, 2.0), samples=64, local_steps=10)
        assert_same(new, shifted(weights, 1.0))
        assert new.version.counter == base.version.counter + 1
        assert new.step.outcome == "applied" and worker.last_step is new.step
        assert worker.last_push.sequence == worker.last_sequence == 1
        assert new.info.samples == 64 and new.info.outer_steps == 1


def test_nesterov_rounds_follow_the_equations(server):
    rng = np.random.default_rng(3)
    phi = {"w": rng.standard_normal(1000).astype(np.float32)}
    model = server.create_model("m", phi, outer=stepback.diloco())
    reference, velocity = phi["w"].astype(np.float64), np.zeros(1000)
    with model.join("w0") as worker:
        weights = worker.pull()
        for _ in range(5):
            theta = weights["w"] + rng.standard_normal(1000).astype(np.float32) * np.float32(0.1)
            delta = weights["w"].astype(np.float64) - theta
            velocity = 0.9 * velocity + delta
            reference = reference - 0.7 * (delta + 0.9 * velocity)
            weights = worker.step({"w": theta})
            np.testing.assert_allclose(weights["w"], reference, rtol=0, atol=3e-6)
            reference = weights["w"].astype(np.float64)


def test_gradient_mode_runs_sgd_and_lookahead_on_the_server(server):
    # Powers of two all the way: exact.
    weights = {"w": np.array([8.0, -8.0], np.float32)}
    model = server.create_model(
        "m",
        weights,
        mode="gradient",
        inner=stepback.sgd(lr=0.5),
        outer=stepback.lookahead(0.5),
        sync_period=2,
    )
    gradient = {"w": np.array([2.0, 4.0], np.float32)}
    with model.join("w0") as worker:
        worker.pull()
        first = worker.step_gradient(gradient, samples=32)
        assert first["w"].tolist() == [7.0, -10.0]
        assert model.pull(view="eval")["w"].tolist() == [8.0, -8.0]
        second = worker.step_gradient(gradient, samples=32)  # theta 6, -12; phi half the way there
        assert second["w"].tolist() == [7.0, -10.0] == model.pull(view="eval")["w"].tolist()
        assert second.info.inner_steps == 2 and second.info.outer_steps == 1
        assert worker.push_gradient(gradient).outcome == "applied"
        assert worker.pull(view="eval")["w"].tolist() == [7.0, -10.0]
        assert worker.pull()["w"].tolist() == [6.0, -12.0]


def test_loss_scale_is_divided_out_and_an_overflow_is_skipped(server):
    model = server.create_model(
        "m",
        {"w": np.array([1.0], np.float32)},
        mode="gradient",
        inner=stepback.sgd(lr=1.0),
        outer=stepback.no_rule(),
    )
    with model.join("w0") as worker:
        worker.pull()
        assert worker.step_gradient({"w": np.array([512.0], np.float32)}, loss_scale=1024.0)[
            "w"
        ].tolist() == [0.5]
        overflow = worker.step_gradient({"w": np.array([np.inf], np.float32)}, loss_scale=1024.0)
        assert overflow.step.outcome == "skipped" and overflow["w"].tolist() == [0.5]


def test_two_workers_average_and_wait_for_each_other(server):
    model = server.create_model(
        "m", small_weights(), outer=stepback.local_sgd(), rounds=stepback.sync(quorum=2)
    )
    with model.join("w0") as first, model.join("w1") as second:
        base = first.pull()
        second.pull()
        waiting = in_thread(lambda: first.step(shifted(base, 1.0)))
        until(lambda: contributed(model, "w0"), "the first worker's push")
        new = second.step(
            shifted(base, 3.0)
        )  # in the same process: the waiting call has let go of the interpreter
        assert_same(waiting(), new)
        assert_same(new, shifted(base, 2.0))
        assert new.step.push.outcome in ("applied", "buffered")


def test_weighting_by_samples(server):
    model = server.create_model(
        "m", small_weights(), outer=stepback.average(), rounds=stepback.sync(quorum=2, weighting="samples")
    )
    with model.join("w0") as first, model.join("w1") as second:
        base = first.pull()
        second.pull()
        waiting = in_thread(lambda: first.step(shifted(base, 4.0), samples=1))
        new = second.step(shifted(base, 8.0), samples=3)
        assert_same(new, shifted(base, 7.0))
        waiting()


def test_asynchronous_pushes_apply_at_once(server):
    model = server.create_model(
        "m", small_weights(), outer=stepback.average(), rounds=stepback.asynchronous()
    )
    with model.join("w0") as first, model.join("w1") as second:
        base = first.pull()
        second.pull()
        assert_same(first.step(shifted(base, 1.0)), shifted(base, 1.0))
        late = second.step(shifted(base, 2.0))
        assert_same(late, shifted(base, 3.0))
        assert late.step.push.staleness == 1


def test_a_push_waits_in_the_round_until_the_quorum_is_there(server):
    model = server.create_model(
        "m", small_weights(), outer=stepback.average(), rounds=stepback.sync(quorum=2)
    )
    with model.join("w0") as first, model.join("w1") as second:
        base = first.pull()
        second.pull()
        pushed = first.push_weights(shifted(base, 2.0))
        assert pushed.outcome == "buffered" and pushed.version == base.version
        assert "1 of 2" in pushed.reason
        second.step(shifted(base, 4.0))
        assert_same(first.pull(), shifted(base, 3.0))


def test_tensors_left_out_have_no_part_in_the_push(server):
    model = server.create_model("m", small_weights(), outer=stepback.average(0.5))
    with model.join("w0") as worker:
        base = worker.pull()
        new = worker.step({"b": base["b"] + 2})
        assert_same(new, {"w": base["w"], "b": base["b"] + 1})


def test_pulls_and_steps_write_into_the_callers_arrays(server):
    weights = small_weights()
    model = server.create_model("m", weights, outer=stepback.average(0.5))
    mine = {"w": np.zeros((2, 3), np.float32), "b": torch.nn.Parameter(torch.zeros(2))}
    with model.join("w0") as worker:
        pulled = worker.pull(into=mine)
        assert pulled["w"] is mine["w"] and pulled["b"] is mine["b"]
        np.testing.assert_array_equal(mine["w"], weights["w"])
        assert mine["b"].tolist() == weights["b"].tolist()
        mine["w"] += 2
        worker.step(mine, into=mine)  # from and to the same memory
        np.testing.assert_array_equal(mine["w"], weights["w"] + 1)
        only = worker.pull(into={"b": np.zeros(2, np.float64)})
        assert list(only) == ["b"] and only["b"].dtype == np.float64


def test_the_trainers_dtypes_come_back(server):
    weights = {
        "f64": np.array([0.5]),
        "f16": np.array([0.5], np.float16),
        "bf16": torch.tensor([0.5], dtype=torch.bfloat16),
        "steps": np.array(3, np.int64),
    }
    model = server.create_model("m", weights, outer=stepback.average())
    assert [(t.dtype, t.role) for t in model.tensors] == [
        ("f64", "trained"),
        ("f16", "trained"),
        ("bf16", "trained"),
        ("i64", "carried"),
    ]
    with model.join("w0") as worker:
        base = worker.pull()
        assert [base[name].dtype.name for name in base] == ["float64", "float16", "float32", "int64"]
        new = worker.step({**base, "f64": base["f64"] + 1, "steps": base["steps"] + 4})
        assert new["f64"].tolist() == [1.5] and new["steps"].tolist() == 7


def test_bf16_on_the_wire_halves_the_bytes(server):
    weights = {"w": np.ones(100_000, np.float32)}
    model = server.create_model("m", weights, outer=stepback.average())
    sizes = {}
    for codec in ("f32", "bf16"):
        with model.join(f"w-{codec}", push_codec=codec, pull_codec=codec) as worker:
            base = worker.pull()
            new = worker.step({"w": base["w"] * np.float32(0.5)})
            np.testing.assert_array_equal(new["w"], base["w"] * 0.5)
            sizes[codec] = worker.statistics
    assert sizes["f32"].payload_bytes_sent == 400_000 and sizes["bf16"].payload_bytes_sent == 200_000
    assert sizes["f32"].payload_bytes_received == 800_000 and sizes["bf16"].payload_bytes_received == 400_000


def largest_by_block(x, block):
    """The largest magnitude of every element's block."""
    blocks = -(-x.size // block)
    padded = np.zeros(blocks * block, np.float32)
    padded[: x.size] = np.abs(x)
    return np.repeat(padded.reshape(blocks, block).max(axis=1), block)[: x.size]


@pytest.mark.parametrize(
    "codec, bound, block, size",
    [
        ("f16", 2.0**-11, 1, 2),
        ("fp8_e4m3", 2.0**-4, 256, 260 / 256),
        ("fp8_e5m2", 2.0**-3, 256, 260 / 256),
        ("int8", 1 / 253.9, 256, 260 / 256),
        ("e2m1", 1 / 5, 32, 20 / 32),
        ("nf4", 0.152, 64, 36 / 64),
        ("e3m0", 1 / 3, 32, 20 / 32),
    ],
)
def test_codecs_go_both_ways_within_their_bounds(server, codec, bound, block, size):
    elements = 256 * 8000  # more than a chunk in every form, and chunks end inside blocks
    rng = np.random.default_rng(3)
    weights = rng.standard_normal(elements, np.float32)
    model = server.create_model("m", {"w": weights}, outer=stepback.average())
    with model.join("w0", push_codec=codec) as worker:
        pulled = model.pull(codec=codec)["w"]
        assert np.all(np.abs(pulled - weights) <= bound * largest_by_block(weights, block) + 1e-6)
        delta = rng.standard_normal(elements, np.float32)
        base = worker.pull()["w"]
        new = worker.step({"w": base - delta})["w"]
        delta = base - (base - delta)  # what fp32 keeps of it
        assert np.all(np.abs((base - new) - delta) <= bound * largest_by_block(delta, block) + 1e-5)
        assert worker.statistics.payload_bytes_sent == elements * size


@pytest.mark.parametrize("codec", ["e3m0", "sign", "topk_2bit", "topk_bf16"])
def test_error_feedback_brings_everything_in_the_end(server, codec):
    model = server.create_model("m", {"w": np.zeros(4096, np.float32)}, outer=stepback.average())
    target = np.random.default_rng(5).standard_normal(4096).astype(np.float32)
    with model.join("w0", push_codec=codec, error_feedback=True) as worker:
        weights = worker.pull()["w"]
        for _ in range(200):
            weights = worker.step({"w": weights + (target - weights) * np.float32(0.02)})["w"]
        with_feedback = np.linalg.norm(weights - target)
    assert with_feedback < 0.1 * np.linalg.norm(target)  # without feedback 0.3 (sign) to 0.8 (top-k)


def test_error_feedback_needs_a_model_in_delta_mode(server):
    model = server.create_model("m", small_weights(), mode="gradient", inner=stepback.sgd(lr=0.1))
    with pytest.raises(stepback.InvalidArgumentError, match="delta mode"):
        model.join("w0", push_codec="int8", error_feedback=True)


def test_a_codec_for_differences_cannot_hold_weights(server):
    model = server.create_model("m", small_weights())
    with pytest.raises(stepback.InvalidArgumentError, match="only pushes can be in"):
        model.pull(codec="topk_2bit")
    with pytest.raises(stepback.InvalidArgumentError, match="'zip' is not one of: f32 bf16"):
        model.join("w0", push_codec="zip")


def test_creating_again_joins_the_model_that_is_there(server):
    first = server.create_model("m", small_weights())
    again = server.create_model("m", shifted(small_weights(), 9.0))
    assert first.created and not again.created
    assert_same(again.pull(), small_weights())  # the winner's weights
    with pytest.raises(stepback.ModelExistsError) as raised:
        server.create_model("m", small_weights(), outer=stepback.average())
    assert raised.value.reason == "MODEL_EXISTS" and "'m'" in str(raised.value)


def test_zeros_need_no_weights(server):
    model = server.create_model("m", {"w": np.ones((3, 2), np.float32)}, zeros=True)
    assert model.pull()["w"].tolist() == [[0, 0]] * 3


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"outer": stepback.rule("no_such_rule")}, "no_such_rule"),
        ({"outer": stepback.rule("nesterov", speed=1)}, "speed"),
        ({"outer": stepback.nesterov(momentum=1.5)}, "momentum"),
        ({"inner": stepback.sgd()}, "inner"),
        ({"mode": "sideways"}, "mode is 'sideways', expected one of gradient, delta"),
        ({"rounds": stepback.Rounds(policy="someday")}, "policy is 'someday'"),
        ({"roles": {"x": "frozen"}}, "roles names 'x'"),
        ({"groups": [stepback.group("g", ["x"])]}, "x"),
        ({"codec": "zip"}, "zip"),
        ({"clip": stepback.clip(global_norm=-1)}, "spec.clip.global_norm is -1"),
        (
            {"mode": "gradient", "inner": stepback.muon()},
            r"'b' has shape \[2\], but its inner rule 'muon' works on matrices",
        ),
    ],
)
def test_wrong_definitions_are_named(server, arguments, message):
    with pytest.raises(ValueError, match=message):
        server.create_model("m", small_weights(), **arguments)
    assert server.list_models() == []


def test_wrong_weights_are_refused_before_anything_is_sent(server):
    model = server.create_model("m", small_weights())
    with model.join("w0") as worker:
        worker.pull()
        with pytest.raises(stepback.InvalidArgumentError, match="model 'm' has no tensor 'x'"):
            worker.step({"x": np.zeros(1, np.float32)})
        with pytest.raises(stepback.InvalidArgumentError, match=r"'w' has shape \(3,\), expected \(2, 3\)"):
            worker.step({"w": np.zeros(3, np.float32)})
        with pytest.raises(stepback.InvalidArgumentError, match="no tensor 'x'"):
            worker.pull(into={"x": np.zeros(1, np.float32)})
        assert worker.last_sequence == 0


def test_pushing_before_a_pull_is_refused(server):
    model = server.create_model("m", small_weights())
    with model.join("w0") as worker, pytest.raises(stepback.FailedPreconditionError):
        worker.step(small_weights())


def test_non_finite_weights_do_not_get_in(server):
    model = server.create_model("m", small_weights())
    with model.join("w0") as worker:
        base = worker.pull()
        with pytest.raises(stepback.NonFiniteError):
            worker.step({**base, "b": np.array([np.nan, 0], np.float32)})
        assert_same(model.pull(), small_weights())
        assert worker.step(shifted(base, 1.0)).step.outcome == "applied"  # and training goes on


def test_unknown_models_are_not_found(server):
    with pytest.raises(stepback.ModelNotFoundError, match="nope"):
        server.model("nope")
    with pytest.raises(stepback.NotFoundError):
        server.delete_model("nope")


def test_models_are_listed_described_and_deleted(server):
    server.create_model("b", small_weights(), description="second", labels={"team": "blue"})
    model = server.create_model("a", small_weights(), sync_period=20)
    listed = server.list_models()
    assert [info.name for info in listed] == ["a", "b"]
    assert listed[1].labels == {"team": "blue"} and listed[1].tensors == ()
    info = model.describe(state_hash=True)
    assert info.parameters == 8 and info.mode == "delta" and info.sync_period == 20
    assert info.tensors == (stepback.TensorInfo("w", (2, 3)), stepback.TensorInfo("b", (2,)))
    assert info.outer.name == "nesterov" and info.state_hash and len(info.fingerprint) == 64
    model.delete()
    assert [info.name for info in server.list_models()] == ["b"]
    with pytest.raises(stepback.NotFoundError):
        model.pull()


def test_settings_change_live_and_reach_the_worker(server):
    model = server.create_model("m", small_weights(), outer=stepback.average(1.0), sync_period=4)
    with model.join("w0") as worker:
        base = worker.pull()
        assert worker.settings.sync_period == 4
        version = model.describe().settings_version
        effective = model.update({"outer.alpha": 0.25, "sync_period": 8}, expected_settings_version=version)
        assert effective > base.version
        new = worker.step(shifted(base, 4.0))
        assert_same(new, shifted(base, 1.0))
        assert worker.settings.sync_period == 8 and worker.settings.outer.values["alpha"] == 0.25
        with pytest.raises(stepback.SettingsConflictError):
            model.update({"outer.alpha": 0.5}, expected_settings_version=version)
        with pytest.raises(stepback.InvalidArgumentError):
            model.update({"outer.alpha": 1.5})


def test_a_finished_model_says_so(server):
    model = server.create_model("m", small_weights(), finish_after_steps=2)
    with model.join("w0") as worker:
        weights = worker.pull()
        flags = []
        for _ in range(2):
            weights = worker.step(shifted(weights, 1.0))
            flags.append((weights.info.finished, worker.finished))
    assert flags == [(False, False), (True, True)]


def test_health_is_shown_with_the_session(server):
    model = server.create_model("m", small_weights())
    with model.join("w0") as worker:
        base = worker.pull()
        worker.step(shifted(base, 1.0), health=stepback.Health(train_loss=0.5, compute_seconds=2.0))
        (session,) = server.list_sessions("m")
        assert (session.client_id, session.role, session.epoch, session.pushes) == (
            "w0",
            "trainer",
            worker.epoch,
            1,
        )
        assert session.health.train_loss == 0.5 and session.health.compute_seconds == 2.0
    with model.join("w1", heartbeat_interval=0.02) as worker:
        worker.health(train_loss=0.25)
        until(
            lambda: any(s.client_id == "w1" and s.health.train_loss == 0.25 for s in model.sessions()),
            "the heartbeat with the loss",
        )


def test_a_reader_is_never_waited_for_and_may_not_push(server):
    model = server.create_model("m", small_weights(), outer=stepback.average())
    with model.join("reader", role="reader") as reader, model.join("w0") as worker:
        base = reader.pull()
        worker.pull()
        assert_same(worker.step(shifted(base, 1.0)), shifted(base, 1.0))
        with pytest.raises(stepback.StepbackError):
            reader.push_weights(shifted(base, 1.0))
        assert_same(reader.pull(), shifted(base, 1.0))


def test_restoring_a_snapshot_sends_the_workers_back(server):
    model = server.create_model("m", small_weights(), outer=stepback.average())
    with model.join("w0") as worker:
        base = worker.pull()
        one = worker.step(shifted(base, 1.0))
        saved = model.save_snapshot("before")
        assert saved.label == "before" and saved.version == one.version
        two = worker.step(shifted(one, 1.0))
        assert [s.label for s in model.snapshots() if s.label] == ["before"]
        restored = model.restore_snapshot("before")
        assert restored.version > two.version
        back = worker.step(shifted(two, 1.0))  # a delta of weights that are no more
        assert back.step.outcome == "resynced"
        assert_same(back, one)
        assert worker.step(shifted(back, 1.0)).step.outcome == "applied"
        assert worker.statistics.resyncs == 1


def test_flush_makes_the_published_version_durable(server):
    model = server.create_model("m", small_weights(), outer=stepback.average())
    with model.join("w0") as worker:
        new = worker.step(shifted(worker.pull(), 1.0))
        assert model.flush() >= new.version
        assert model.describe().durable_version >= new.version


def test_models_are_there_again_after_a_restart_in_another_process_life(tmp_path):
    with stepback.serve_local(tmp_path) as local, local.connect() as server:
        model = server.create_model("m", small_weights(), outer=stepback.average())
        with model.join("w0") as worker:
            new = worker.step(shifted(worker.pull(), 1.0))
    with stepback.serve_local(tmp_path) as local, local.connect() as server:
        again = server.model("m")
        assert_same(again.pull(), new)
        assert again.info.version > new.version


def test_export_writes_safetensors_and_import_reads_them(server, tmp_path):
    model = server.create_model("m", small_weights())
    path = tmp_path / "m.safetensors"
    assert model.export(path) == model.info.version
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    begin, end = header["w"]["data_offsets"]
    assert header["w"]["dtype"] == "F32" and header["w"]["shape"] == [2, 3]
    np.testing.assert_array_equal(
        np.frombuffer(raw[8 + size :][begin:end], "<f4").reshape(2, 3), small_weights()["w"]
    )
    other = server.create_model("other", shifted(small_weights(), 5.0))
    assert other.import_weights(path).version > other.info.version
    assert_same(other.pull(), small_weights())


def test_watch_tells_of_every_change_and_stops_when_told(server):
    model = server.create_model("m", small_weights())
    seen = []

    def on_change(event):
        seen.append(event.version)
        return len(seen) < 2

    with model.join("w0") as worker:
        base = worker.pull()
        watching = in_thread(lambda: model.watch(on_change))
        until(lambda: seen, "the first event")
        new = worker.step(shifted(base, 1.0))
        watching()
        assert seen == [base.version, new.version]


def test_an_exception_in_a_watch_ends_it(server):
    model = server.create_model("m", small_weights())

    def on_change(event):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        model.watch(on_change)


def test_waiting_for_a_newer_version_and_not_modified(server):
    model = server.create_model("m", small_weights())
    with model.join("w0") as worker:
        base = worker.pull()
        same = model.pull(since=base.version)
        assert not same.info.modified and same == {}
        waiting = in_thread(lambda: model.pull(since=base.version, wait=True))
        new = worker.step(shifted(base, 1.0))
        assert waiting().version == new.version
        with pytest.raises(stepback.DeadlineExceededError):
            model.pull(since=new.version, wait=True, timeout=0.05)


def test_evaluations_are_reported(server):
    model = server.create_model("m", small_weights())
    model.report(model.info.version, test_loss=0.5, accuracy=0.9)
    with pytest.raises(stepback.InvalidArgumentError):
        model.report(model.info.version, **{"Not A Name": 1.0})


def test_leaving_lets_the_others_round_close(server):
    """One leaves after a round, while the other waits in the next: nobody waits for anybody."""
    model = server.create_model("m", small_weights(), outer=stepback.average())
    with model.join("stays") as stays:
        leaves = model.join("leaves")
        base = stays.pull()
        leaves.pull()
        both = in_thread(lambda: stays.step(shifted(base, 1.0)))
        new = leaves.step(shifted(base, 1.0))
        assert_same(both(), new)
        alone = in_thread(lambda: stays.step(shifted(new, 1.0)))
        until(lambda: contributed(model, "stays"), "the push to the next round")
        leaves.close()
        assert_same(alone(), shifted(new, 1.0))


def test_closing_when_the_session_is_gone_is_no_error(server):
    model = server.create_model("m", small_weights())
    with model.join("w0") as worker:
        worker.pull()
        model.delete()


def test_cancel_ends_a_waiting_step_from_another_thread(server):
    model = server.create_model("m", small_weights(), rounds=stepback.sync(quorum=2))
    with model.join("w0") as worker:
        base = worker.pull()
        waiting = in_thread(lambda: worker.step(shifted(base, 1.0)))
        until(lambda: contributed(model, "w0"), "the push")
        worker.cancel()
        with pytest.raises(stepback.CancelledError):
            waiting()


def test_a_timeout_ends_a_waiting_step(server):
    model = server.create_model(
        "m", small_weights(), outer=stepback.average(), rounds=stepback.sync(quorum=2)
    )
    with model.join("w0") as worker, model.join("w1") as other:
        base = worker.pull()
        with pytest.raises(stepback.DeadlineExceededError):
            worker.step(shifted(base, 1.0), timeout=0.2)
        other.pull()
        other.step(shifted(base, 3.0))
        assert_same(worker.pull(), shifted(base, 2.0))  # the push had got through: it counts once


def test_control_c_ends_a_waiting_step(server):
    model = server.create_model("m", small_weights(), rounds=stepback.sync(quorum=2))
    with model.join("w0") as worker:
        base = worker.pull()

        def interrupt():
            until(lambda: contributed(model, "w0"), "the push")
            os.kill(os.getpid(), signal.SIGINT)

        interrupting = in_thread(interrupt)
        with pytest.raises(KeyboardInterrupt):
            worker.step(shifted(base, 1.0), timeout=TIMEOUT)
        interrupting()


def test_a_closed_connection_says_so(local):
    with local.connect() as server:
        worker = server.create_model("m", small_weights()).join("w0")
    with pytest.raises(RuntimeError, match="is closed"):
        server.list_models()
    with pytest.raises(stepback.FailedPreconditionError, match="'w0' is closed"):
        worker.pull()
    worker.close()  # again: nothing happens
    with local.connect() as server:
        assert server.list_sessions("m") == []


def test_nobody_there():
    with pytest.raises((stepback.UnavailableError, stepback.DeadlineExceededError)):
        stepback.connect("stepback://127.0.0.1:1", connect_timeout=0.2)


def test_the_servers_log_level_changes(server):
    previous = server.set_log_level("error")
    assert server.set_log_level(previous) == "error"
    with pytest.raises(stepback.InvalidArgumentError):
        server.set_log_level("loud")


def test_groups_have_rules_of_their_own(server):
    weights = {name: np.array([8.0], np.float32) for name in ("a", "b", "c")}
    model = server.create_model(
        "m",
        weights,
        mode="gradient",
        inner=stepback.sgd(lr=1.0),
        outer=stepback.no_rule(),
        groups=[
            stepback.group("slow", ["b"], lr_scale=0.5),
            stepback.group("still", ["c"], inner=stepback.no_rule()),
        ],
    )
    with model.join("w0") as worker:
        worker.pull()
        new = worker.step_gradient({name: np.array([2.0], np.float32) for name in weights})
        assert [new[name].item() for name in ("a", "b", "c")] == [6.0, 7.0, 8.0]


def test_the_aggregate_is_clipped(server):
    weights = {"a": np.zeros(1, np.float32), "b": np.zeros(1, np.float32)}
    model = server.create_model(
        "m",
        weights,
        mode="gradient",
        inner=stepback.sgd(lr=1.0),
        outer=stepback.no_rule(),
        clip=stepback.clip(8.0, global_norm=1.0),
    )
    assert model.describe().clip == stepback.Clip(value=8.0, global_norm=1.0)
    gradient = {"a": np.array([3.0], np.float32), "b": np.array([-4.0], np.float32)}
    with model.join("w0") as worker:
        worker.pull()
        new = worker.step_gradient(gradient)
        np.testing.assert_allclose([new["a"].item(), new["b"].item()], [-0.6, 0.8], rtol=1e-6)
        model.update({"clip.global_norm": 0, "clip.value": 3.5})
        new = worker.step_gradient(gradient)
        np.testing.assert_allclose([new["a"].item(), new["b"].item()], [-3.6, 4.3], rtol=1e-6)
        assert worker.settings.clip == stepback.Clip(value=3.5)


def test_every_inner_preset_trains_a_matrix(server):
    for preset in (stepback.lamb(), stepback.lars(), stepback.adafactor(), stepback.muon()):
        weights = {"w": np.ones((4, 3), np.float32)}
        model = server.create_model(f"m-{preset.name}", weights, mode="gradient", inner=preset)
        with model.join("w0") as worker:
            worker.pull()
            new = worker.step_gradient({"w": np.arange(12, dtype=np.float32).reshape(4, 3)})
            assert np.isfinite(new["w"]).all() and not np.array_equal(new["w"], weights["w"]), preset.name


def test_a_schedule_is_part_of_a_rule():
    rule = stepback.sgd(lr=0.5).scheduled("lr", "step", every=10, factor=0.1)
    assert rule.schedules == {"lr": stepback.Schedule("step", {"every": 10, "factor": 0.1})}
    assert rule.values == stepback.sgd(lr=0.5).values

"""Pulls by differences through a running server: the SDK makes of them what a pull in full gives."""

import numpy as np
import pytest

import stepback

ELEMENTS = 20_000


def sparse(rng, share):
    delta = rng.standard_normal(ELEMENTS).astype(np.float32) * np.float32(0.01)
    return np.where(rng.random(ELEMENTS) < share, delta, np.float32(0))


def create(server, **options):
    rng = np.random.default_rng(1)
    weights = {
        "w": rng.standard_normal(ELEMENTS).astype(np.float32),
        "frozen": rng.standard_normal(50).astype(np.float32),
        "steps": np.zeros((), np.int64),
    }
    options = {"outer": stepback.average(), "rounds": stepback.asynchronous(), **options}
    return server.create_model("m", weights, roles={"frozen": "frozen"}, **options)


def push(worker, weights, delta, number):
    worker.push_weights({"w": weights["w"] - delta, "steps": np.int64(number)})


def bits(weights):
    return {name: array.tobytes() for name, array in weights.items()}


def test_fifty_lossless_differences_are_the_full_pull_bit_for_bit(server):
    model, rng = create(server), np.random.default_rng(2)
    with model.join("w") as worker, model.join(
        "every", role="reader", difference="lossless_bf16"
    ) as every, model.join("third", role="reader", difference="lossless_bf16", pull_codec="bf16") as third:
        assert every.pull().info.difference == ""
        third.pull()
        for number in range(50):
            push(worker, worker.pull(), sparse(rng, 0.01), number)
            pulled = every.pull()
            full = model.pull(codec="bf16")
            assert pulled.info.difference == "lossless_bf16"
            assert bits(pulled) == bits(full), number
            if number % 3 == 0:
                assert bits(third.pull()) == bits(full), number
        assert every.statistics.difference_pulls == 50 and every.statistics.pulls == 51
        # Once in full at 2 bytes a number, then about 0.1.
        assert every.statistics.payload_bytes_received < 2 * ELEMENTS + 50 * 0.2 * ELEMENTS
        assert every.statistics.payload_bytes_received < worker.statistics.payload_bytes_received / 10


def test_a_reader_far_behind_gets_everything(server):
    model, rng = create(server), np.random.default_rng(3)
    with model.join("w") as worker, model.join(
        "near", role="reader", difference="lossless_bf16"
    ) as near, model.join("far", role="reader", difference="lossless_bf16") as far:
        near.pull(), far.pull()
        for number in range(20):
            push(worker, worker.pull(), sparse(rng, 0.2), number)
            near.pull()
        behind = far.pull()
        assert behind.info.difference == "" and bits(behind) == bits(near.pull())


@pytest.mark.parametrize("form", ["int8", "e2m1", "topk_bf16", "bf16_sr"])
def test_quantised_differences_are_the_same_for_all_and_near_the_weights(server, form):
    model, rng = create(server), np.random.default_rng(4)
    with model.join("w") as worker, model.join("a", role="reader", difference=form) as a, model.join(
        "b", role="reader", difference=form
    ) as b:
        a.pull(), b.pull()
        largest = 0.0
        for number in range(30):
            delta = sparse(rng, 1)
            largest = max(largest, float(np.abs(delta).max()))
            push(worker, worker.pull(), delta, number)
            first, second = a.pull(), b.pull()
            assert bits(first) == bits(second)
            assert first["steps"] == number
        assert a.statistics.difference_pulls == 30
        weights = worker.pull()
        error = np.abs(first["w"] - weights["w"]).max()
        bound = {"int8": 0.02, "e2m1": 0.4, "bf16_sr": 0.02}.get(form, 30)  # of the largest change of a version
        assert error <= bound * largest
        with model.join("c", role="reader", difference=form) as late:
            assert bits(late.pull()) == bits(first)  # in full, and still the same bits


def test_training_steps_bring_differences_and_the_base_follows(server):
    model = create(server, rounds=stepback.sync())
    target = np.random.default_rng(5).standard_normal(ELEMENTS).astype(np.float32)
    with model.join("w0", difference="int8", push_codec="int8", error_feedback=True) as worker:
        weights = worker.pull()
        for number in range(40):
            moved = weights["w"] + (target - weights["w"]) * np.float32(0.2)
            weights = worker.step({"w": moved, "steps": np.int64(number)})
        assert np.abs(model.pull()["w"] - target).max() < 0.01
        assert worker.statistics.difference_pulls == 40
        received, sent = worker.statistics.payload_bytes_received, worker.statistics.payload_bytes_sent
        assert received < 4.1 * ELEMENTS + 40 * 1.02 * ELEMENTS and sent < 40 * 1.02 * ELEMENTS


def test_gradient_mode_workers_hold_what_they_pulled(server):
    model = create(server, mode="gradient", inner=stepback.sgd(lr=0.1), outer=stepback.lookahead(), sync_period=5)
    rng = np.random.default_rng(6)
    with model.join("w0", difference="lossless_bf16") as worker:
        worker.pull()
        for number in range(12):
            new = worker.step_gradient({"w": sparse(rng, 0.01), "steps": np.int64(number)})
            assert bits(new) == bits(model.pull(view="train", codec="bf16")), number
        assert worker.statistics.difference_pulls > 6


def test_another_view_starts_in_full(server):
    model = create(server)
    with model.join("w", difference="int8") as worker:
        worker.pull()
        assert worker.pull().info.difference == "int8"
        for view, difference in (("train", ""), ("train", "int8"), ("eval", ""), ("eval", "int8")):
            assert worker.pull(view=view).info.difference == difference


def test_what_the_server_keeps_is_part_of_its_state(server):
    model = create(server)
    before = model.describe().state_bytes
    with model.join("w", role="reader", difference="int8") as reader:
        reader.pull()
        assert model.describe().state_bytes == before + 4 * (ELEMENTS + 50) + 8


def test_bad_forms_are_refused(server):
    model = create(server)
    with pytest.raises(stepback.InvalidArgumentError, match="'zip', there are lossless_bf16, bf16, f16"):
        model.join("w", difference="zip")
    with pytest.raises(stepback.InvalidArgumentError, match="of weights in 'bf16'"):
        model.join("w", difference="lossless_bf16", pull_codec="int8")
    with pytest.raises(stepback.InvalidArgumentError, match="pull_ranges_only"):
        model.join("w", difference="int8", ranges=[(0, 256)], pull_ranges_only=True)

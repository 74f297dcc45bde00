"""Several pushes of one worker in flight against a real server: order, bits, back-pressure, and kill -9."""

import asyncio
import collections
import contextlib
import threading

import numpy as np
import pytest
from conftest import TIMEOUT, assert_same

import stepback

ELEMENTS = 50_000  # four chunks of 64 KiB
PUSHES = 40
SEED = 20261128


def zeros():
    return {"w": np.zeros(ELEMENTS, np.float32)}


def gradient(worker, number):
    random = np.random.default_rng([SEED, worker, number])
    return {"w": random.standard_normal(ELEMENTS, dtype=np.float32)}


def push_all(worker, index, pushes=PUSHES, between=lambda number: None):
    """Each result in the order of the pushes."""
    futures = []
    for number in range(1, pushes + 1):
        futures.append(worker.push_async(gradient(index, number), samples=number))
        between(number)
    return [future.result(TIMEOUT) for future in futures]


def create(server, name, **options):
    options.setdefault("rounds", stepback.asynchronous(max_staleness=1 << 31))
    return server.create_model(
        name, zeros(), mode="gradient", inner=stepback.adam(lr=0.01), outer=stepback.no_rule(), **options
    )


def trained_one_at_a_time(server, name):
    model = create(server, name)
    with model.join("w0") as worker:
        worker.pull()
        for number in range(1, PUSHES + 1):
            worker.push_gradient(gradient(0, number), samples=number)
    return model.pull()


def test_five_in_flight_make_the_same_bits_as_one_at_a_time(local):
    with local.connect(chunk_bytes=1 << 16) as server:
        expected = trained_one_at_a_time(server, "one")
        model = create(server, "five")
        with model.join("w0", max_in_flight=5) as worker:
            worker.pull()
            results = push_all(worker, 0)
            assert [result.sequence for result in results] == list(range(1, PUSHES + 1))
            assert [result.version.counter for result in results] == list(range(1, PUSHES + 1))
            assert {result.outcome for result in results} == {"applied"}
        assert_same(model.pull(), expected)
        assert model.pull().info.samples == expected.info.samples


def train_two(server, name, in_flight, **options):
    rounds = stepback.sync(2, max_staleness=1 << 31, **options.pop("rounds", {}))
    model = create(server, name, rounds=rounds, **options)
    errors = []

    def train(worker, index):
        try:
            worker.pull()
            push_all(worker, index, 12)
        except Exception as error:
            errors.append(error)

    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(model.join(f"w{i}", max_in_flight=in_flight)) for i in range(2)]
        threads = [
            threading.Thread(target=train, args=(worker, i), daemon=True) for i, worker in enumerate(workers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        assert not errors and not any(thread.is_alive() for thread in threads)
    pulled = model.pull()
    assert pulled.version.counter == 12
    return pulled


def test_ordered_rounds_make_the_same_bits_whatever_is_in_flight(server):
    ordered = {"rounds": {"reduction": "ordered"}}
    assert_same(train_two(server, "five", 5, **ordered), train_two(server, "one", 1, **ordered))


def test_a_window_never_blocks_rounds_with_room_for_one_push(server):
    train_two(server, "narrow", 5, staging_bytes=4 * ELEMENTS)


def test_a_server_killed_under_five_in_flight_ends_with_the_undisturbed_weights(local, process):
    with local.connect() as server:
        expected = trained_one_at_a_time(server, "m")
    with process.connect(give_up_after=TIMEOUT, backoff_max=0.1, chunk_bytes=1 << 16) as server:
        model = create(server, "m", durability="round", snapshot_interval_seconds=0.05)
        model.save_snapshot()

        def kill(number):
            if number % 10 == 0:
                process.kill()
                process.start()

        with model.join("w0", max_in_flight=5) as worker:
            worker.pull()
            results = push_all(worker, 0, between=kill)
            assert [result.sequence for result in results] == list(range(1, PUSHES + 1))
            worker.pull()  # what the last kill cost comes back first
            assert worker.statistics.resyncs == 0 and worker.statistics.reconnects >= 1
        assert_same(model.pull(), expected)
        assert model.pull().info.samples == expected.info.samples


def test_a_full_window_waits_and_cancel_ends_what_is_in_flight(server):
    model = create(server, "m", rounds=stepback.sync(2))
    with model.join("w0", max_in_flight=2) as worker:
        worker.pull()
        first = worker.push_async(gradient(0, 1))
        assert first.result(TIMEOUT).outcome == "buffered"  # in the round, which waits for another worker
        waiting = [worker.push_async(gradient(0, number)) for number in (2, 3)]
        with pytest.raises(stepback.DeadlineExceededError):
            worker.push_async(gradient(0, 4), timeout=0.05)
        with pytest.raises(stepback.DeadlineExceededError):
            waiting[0].result(0.05)
        assert not waiting[0].done() and repr(waiting[0]) == "<stepback.PushFuture in flight>"
        worker.cancel()
        for future in waiting:
            with pytest.raises(stepback.CancelledError):
                future.result(TIMEOUT)


def test_a_future_can_be_awaited(server):
    model = create(server, "m")

    async def train(worker):
        futures = collections.deque()
        outcomes = []
        for number in range(1, 7):
            futures.append(worker.push_async(gradient(0, number)))
            if len(futures) == 3:
                outcomes.append((await futures.popleft()).sequence)
        return outcomes + [result.sequence for result in await asyncio.gather(*futures)]

    with model.join("w0", max_in_flight=3) as worker:
        worker.pull()
        assert asyncio.run(train(worker)) == [1, 2, 3, 4, 5, 6]


def test_weights_go_in_delta_mode_and_the_arrays_may_change_at_once(server):
    model = server.create_model(
        "m", zeros(), outer=stepback.average(), rounds=stepback.asynchronous(max_staleness=100)
    )
    with model.join("w0", max_in_flight=4) as worker:
        weights = worker.pull()
        futures = []
        for _ in range(4):
            weights["w"] += 1
            futures.append(worker.push_async(weights))
        weights["w"][:] = np.nan
        for future in futures:
            assert future.result(TIMEOUT).outcome == "applied"
        np.testing.assert_array_equal(worker.pull()["w"], 1 + 2 + 3 + 4)


def test_what_a_window_cannot_do_is_refused(server):
    model = create(server, "m")
    for options in ({"max_in_flight": 0}, {"max_in_flight": 6}, {"max_in_flight": 2, "ranks": 2}):
        with pytest.raises(stepback.InvalidArgumentError, match="max_in_flight"):
            model.join("w0", **options)

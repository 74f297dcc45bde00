"""Workers and servers that die: what is whole counts, what is partial leaves no trace, all go on."""

import queue
import threading
from time import monotonic as now

import numpy as np
import plain_client
import pytest
from conftest import TIMEOUT, metric, until

import stepback

ELEMENTS = 1_000_000  # several chunks
TWO_PUSHES = 2 * 4 * 4  # bytes, of four fp32 numbers


@pytest.fixture
def stubs(tmp_path):
    folder = tmp_path / "stubs"
    folder.mkdir()
    plain_client.generate(folder)
    return str(folder)


def sessions(model):
    return {session.client_id: session for session in model.sessions()}


def test_a_worker_killed_in_mid_push_leaves_nothing_and_comes_back(process, puppets, stubs):
    """Two workers; one dies with SIGKILL while its push is half there. The round closes by its quorum."""
    with process.connect(give_up_after=TIMEOUT) as server:
        model = server.create_model(
            "m",
            {"w": np.zeros(ELEMENTS, np.float32)},
            outer=stepback.average(),
            rounds=stepback.sync(quorum=1, deadline_seconds=0.2),
        )
        victim = puppets()
        victim.call(
            "begin_plain_push",
            stubs=stubs,
            address=process.address,
            model="m",
            worker_id="victim",
            elements=ELEMENTS,
        )
        received = lambda: metric(process.metrics_url, "stepback_received_bytes_total")  # noqa: E731
        until(lambda: received() > 0, "the first chunk to arrive")
        victim.kill()
        with model.join("survivor") as survivor:
            survivor.pull()
            new = survivor.step({"w": np.ones(ELEMENTS, np.float32)})
            assert new.step.outcome == "applied"
            np.testing.assert_array_equal(new["w"], 1.0)  # a thousandth of the victim's push would show

            with model.join("victim") as back:  # the same id, with the SDK
                assert back.last_sequence == 0  # its partial push was never decided
                base = back.pull()
                pushed = back.push_weights({"w": base["w"] + 2})
                assert pushed.outcome == "buffered"  # the survivor is awaited
                both = survivor.step({"w": new["w"] + 4})
                np.testing.assert_array_equal(both["w"], 4.0)  # 1 + the mean of 2 and 4


def train(worker, weights, rounds):
    for _ in range(rounds):
        weights = worker.step({name: value + np.float32(1) for name, value in weights.items()})
    return weights


def test_a_worker_goes_on_after_the_server_was_killed(process):
    """The pushes since the last snapshot are replayed: nothing is lost, nothing counts twice."""
    with process.connect(give_up_after=TIMEOUT) as server:
        model = server.create_model("m", {"w": np.zeros(10, np.float32)}, outer=stepback.average())
        with model.join("w0") as worker:
            weights = train(worker, worker.pull(), 3)
            model.save_snapshot()
            weights = train(worker, weights, 2)
            before = weights.version
            process.kill()
            process.start()
            weights = train(worker, weights, 3)
            np.testing.assert_array_equal(weights["w"], 8.0)
            assert weights.version > before
            assert worker.statistics.reconnects >= 1


def test_a_worker_that_can_keep_no_more_pushes_need_not_wait_for_a_snapshot(process):
    """The last push that fits asks for it, so that it is written while the worker computes."""
    with process.connect() as server:
        model = server.create_model("m", {"w": np.zeros(10, np.float32)}, outer=stepback.average())
        with model.join("w0", replay_bytes_max=2 * 40) as worker:
            weights = worker.pull()
            for _ in range(3):
                weights = train(worker, weights, 2)
                until(lambda: model.describe().durable_version == weights.version, "the snapshot that the push asked for")
            weights = train(worker, weights, 1)
            assert worker.statistics.flushes == 0
            assert len(model.snapshots()) == 2  # the last two


def test_workers_processes_survive_a_restart_in_the_middle_of_a_round(process, puppets):
    with process.connect(give_up_after=TIMEOUT) as server:
        model = server.create_model(
            "m", {"w": np.zeros(4, np.float32)}, outer=stepback.average(), rounds=stepback.sync(quorum=2)
        )
        pair = [puppets() for _ in range(2)]
        for i, puppet in enumerate(pair):
            puppet.call("join", address=process.address, model="m", worker_id=f"w{i}")
        for puppet in pair:
            puppet.begin("step", change={"w": [1, 1, 1, 1]})
        for puppet in pair:
            assert puppet.result() == {"w": [1, 1, 1, 1]}
        model.save_snapshot()
        pair[0].begin("step", change={"w": [2, 2, 2, 2]})
        until(lambda: sessions(model)["w0"].contributed, "w0's push in the open round")
        process.kill()  # the open round is not on disk
        process.start()
        pair[1].begin("step", change={"w": [4, 4, 4, 4]})
        assert pair[1].result() == pair[0].result() == {"w": [4, 4, 4, 4]}  # 1 + the mean of 2 and 4
        assert all(puppet.alive for puppet in pair)
        assert pair[0].call("outcome") != "resynced"


def test_a_server_that_stays_away_is_unavailable_and_bounded(process):
    with process.connect(give_up_after=0.5) as server:
        model = server.create_model("m", {"w": np.zeros(4, np.float32)})
        worker = model.join("w0")
        worker.pull()
        process.kill()
        with pytest.raises(stepback.UnavailableError):
            worker.step({"w": np.ones(4, np.float32)})


def test_a_clean_stop_keeps_everything(process):
    with process.connect(give_up_after=TIMEOUT) as server:
        model = server.create_model("m", {"w": np.zeros(4, np.float32)}, outer=stepback.average())
        with model.join("w0") as worker:
            weights = train(worker, worker.pull(), 2)
            process.stop()
            process.start()
            np.testing.assert_array_equal(model.pull()["w"], 2.0)
            assert train(worker, weights, 1)["w"].tolist() == [3, 3, 3, 3]


def test_a_worker_short_of_room_does_not_wait_for_the_round_that_waits_for_it(process):
    """Both keep two pushes at most. The first worker's third opens a round; the second must make room before its own."""
    with process.connect(give_up_after=TIMEOUT) as server:
        model = server.create_model(
            "m", {"w": np.zeros(4, np.float32)}, outer=stepback.average(), rounds=stepback.sync(quorum=2)
        )
        pair = [model.join(f"w{i}", replay_bytes_max=TWO_PUSHES) for i in range(2)]
        done = threading.Thread(target=lambda: [push_one(worker) for _ in range(3) for worker in pair], daemon=True)
        for worker in pair:
            worker.pull()
        done.start()
        done.join(TIMEOUT)
        assert not done.is_alive(), "the second worker waits for the round that waits for it"
        np.testing.assert_array_equal(model.pull()["w"], 3.0)


def push_one(worker):
    base = worker.pull()
    worker.push_weights({name: value + 1 for name, value in base.items()})


def test_a_buffered_round_may_be_larger_than_what_its_workers_keep(process):
    with process.connect(give_up_after=TIMEOUT) as server:
        model = server.create_model(
            "m", {"w": np.zeros(4, np.float32)}, outer=stepback.average(), rounds=stepback.buffered(5)
        )
        worker = model.join("w0", replay_bytes_max=TWO_PUSHES)
        worker.pull()
        done = threading.Thread(target=lambda: [push_one(worker) for _ in range(5)], daemon=True)
        done.start()
        done.join(TIMEOUT)
        assert not done.is_alive(), "the worker waits for a round that only it can fill"
        np.testing.assert_array_equal(model.pull()["w"], 1.0)


def test_a_server_that_comes_back_is_noticed_at_once(process):
    """A connection that was refused is tried again when the next attempt asks for it, not at gRPC's leisure (5 s)."""
    address = process.address
    process.kill()
    connected = queue.Queue()
    thread = threading.Thread(target=lambda: connected.put((stepback.connect(address, connect_timeout=TIMEOUT), now())))
    thread.start()
    thread.join(1.0)  # refused a few times
    process.start()
    back = now()
    server, when = connected.get(timeout=TIMEOUT)
    with server:
        assert when - back < 4

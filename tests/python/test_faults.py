"""Workers and servers that die: what is whole counts, what is partial leaves no trace, all go on."""

import numpy as np
import plain_client
import pytest
from conftest import TIMEOUT, metric, until

import stepback

ELEMENTS = 1_000_000  # several chunks


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

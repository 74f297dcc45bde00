"""A worker whose pushes are not finite is thrown out, and the others train on."""

import numpy as np
import pytest
from conftest import assert_same, small_weights

import stepback


def with_nan(weights):
    return {**weights, "b": np.array([np.nan, 0], np.float32)}


def throw_out(worker, times):
    base = worker.pull()
    for _ in range(times):
        with pytest.raises(stepback.NonFiniteError):
            worker.push_weights(with_nan(base))


def test_a_worker_that_sends_nan_loses_its_session_and_nobody_waits_for_it(server):
    model = server.create_model("m", small_weights(), outer=stepback.average())
    with model.join("good") as good, model.join("bad") as bad:
        base = good.pull()
        assert good.push_weights({name: value - np.float32(1) for name, value in base.items()}).outcome == "buffered"
        throw_out(bad, times=3)
        assert_same(model.pull(), {name: value - np.float32(1) for name, value in base.items()})
        with pytest.raises(stepback.QuarantinedError):
            bad.push_weights(base)
        with pytest.raises(stepback.QuarantinedError, match="may open no session") as caught:
            model.join("bad")
        assert isinstance(caught.value, stepback.FailedPreconditionError)
        assert caught.value.reason == "QUARANTINED" and 0 < float(caught.value.metadata["seconds"]) <= 60
        listed = {session.client_id: session.quarantine_remaining_seconds for session in model.sessions()}
        assert listed["good"] == 0 and 0 < listed["bad"] <= 60


def test_its_length_is_a_setting_and_lowering_it_lets_the_worker_in(server):
    model = server.create_model(
        "m", small_weights(), outer=stepback.average(), quarantine=stepback.quarantine(1, seconds=3600)
    )
    with model.join("w") as worker:
        throw_out(worker, times=1)
    with pytest.raises(stepback.QuarantinedError):
        model.join("w")
    model.update({"quarantine.after": 0})
    with model.join("w") as worker:
        throw_out(worker, times=10)
        assert worker.step(worker.pull()).step.outcome == "applied"


def test_a_restored_snapshot_forgives(server):
    model = server.create_model("m", small_weights(), quarantine=stepback.quarantine(1, seconds=3600))
    model.save_snapshot("start")
    with model.join("w") as worker:
        throw_out(worker, times=1)
    model.restore_snapshot("start")
    with model.join("w") as worker:
        assert_same(worker.pull(), small_weights())


@pytest.mark.parametrize(
    "quarantine, message",
    [
        (stepback.quarantine(1001), "spec.quarantine.after is 1001, expected 0..1000"),
        (stepback.quarantine(seconds=0.5), "spec.quarantine.seconds is 0.5, expected 1..86400"),
    ],
)
def test_what_is_out_of_bounds_is_refused(server, quarantine, message):
    with pytest.raises(stepback.InvalidArgumentError, match=message):
        server.create_model("m", small_weights(), quarantine=quarantine)

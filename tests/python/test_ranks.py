"""A worker of several processes: each pushes its half of the arena, and only whole pushes count."""

import numpy as np
from conftest import metric, until

import stepback

STEPS = 3


def weights():
    rng = np.random.default_rng(5)
    return {
        "w": rng.standard_normal((40, 50)).astype(np.float32),
        "n": np.array([1, 2, 3], np.int64),
        "b": rng.standard_normal(7).astype(np.float32),
    }


def change(step):
    rng = np.random.default_rng(100 + step)
    return {
        "w": rng.standard_normal((40, 50)).astype(np.float32).tolist(),
        "n": [step, step, step],
        "b": rng.standard_normal(7).astype(np.float32).tolist(),
    }


def create(server, name):
    return server.create_model(name, weights(), outer=stepback.diloco())


def halves(puppets, local, model):
    ranks = [puppets() for _ in range(2)]
    for rank, puppet in enumerate(ranks):
        puppet.call("join", address=local.address, model=model, worker_id="w", rank=rank, ranks=2)
    return ranks


def one_rank(puppets, local, server):
    model = create(server, "one")
    puppet = puppets()
    puppet.call("join", address=local.address, model="one", worker_id="w")
    for step in range(STEPS):
        puppet.call("step", change=change(step))
    return model.pull()


def test_two_ranks_with_half_the_arena_each_equal_one(local, server, puppets):
    model = create(server, "two")
    ranks = halves(puppets, local, "two")
    for step in range(STEPS):
        for puppet in ranks:
            puppet.begin("step", change=change(step))
        first, second = (puppet.result() for puppet in ranks)
        assert first == second
    expected, pulled = one_rank(puppets, local, server), model.pull()
    for name in pulled:
        np.testing.assert_array_equal(pulled[name], expected[name], err_msg=name)
    assert pulled.info.outer_steps == expected.info.outer_steps == STEPS


def test_killing_one_rank_between_its_parts_changes_nothing(local, server, puppets):
    model = create(server, "two")
    before = model.describe(state_hash=True)
    ranks = halves(puppets, local, "two")
    ranks[0].begin("step", change=change(0))
    half = 4 * (40 * 50 + 7) // 2
    until(lambda: metric(local.metrics_url, "stepback_received_bytes_total") >= half - 64, "rank 0's part")
    ranks[1].kill()  # between rank 0's part and its own
    after = model.describe(state_hash=True)
    assert (after.version, after.outer_steps, after.state_hash) == (before.version, 0, before.state_hash)
    assert ranks[0].alive

    # It comes back and sends its part of the same push: now the push is whole.
    again = puppets()
    again.call("join", address=local.address, model="two", worker_id="w", rank=1, ranks=2)
    again.begin("step", change=change(0))
    assert again.result() == ranks[0].result()
    for step in range(1, STEPS):
        for puppet in (ranks[0], again):
            puppet.begin("step", change=change(step))
        for puppet in (ranks[0], again):
            puppet.result()
    expected, pulled = one_rank(puppets, local, server), model.pull()
    for name in pulled:
        np.testing.assert_array_equal(pulled[name], expected[name], err_msg=name)


def test_ranks_say_what_they_push(server):
    model = create(server, "two")
    with model.join("w", rank=0, ranks=2) as first, model.join("w", rank=1, ranks=2) as second:
        (begin, count), (next_begin, next_count) = first.ranges[0], second.ranges[-1]
        assert begin == 0 and next_begin + next_count == 40 * 50 + 3 + 7
        assert sum(count for _, count in first.ranges + second.ranges) == 40 * 50 + 3 + 7
        assert count > 0 and first.epoch == second.epoch
        until(lambda: len(model.sessions()) == 1, "one session of both ranks")

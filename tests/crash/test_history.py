"""The order of commits from two witnesses, and the numbers that count pushes."""

import numpy as np
import pushes
import pytest
from history import Contradiction, History
from ledger import Entry


def closed(version, *members, model="m"):
    listed = "; ".join(f"client-{i}:{n} weight 1 staleness 0" for i, n in members)
    return (
        f'2026-11-28T12:00:00.000Z INFO round_closed model={model} reason="applied at once" '
        f'details="version={version} members={listed} outer_step=no update_norm=1"\n'
    )


def answered(term, counter, outcome="applied"):
    return Entry(answer={"outcome": outcome, "version": [term, counter], "sequence": 0})


def test_the_commit_of_the_highest_term_counts():
    history = History("m")
    history.add_log(closed("1.1", (0, 1)) + closed("1.2", (1, 1)) + closed("1.3", (0, 2)))
    history.add_log(closed("2.2", (0, 2)) + closed("2.3", (1, 1)) + closed("2.1", (1, 9), model="other"))
    assert history.order(3, {(0, 1), (1, 1), (0, 2)}) == [[(0, 1)], [(0, 2)], [(1, 1)]]


def test_what_a_crash_took_back_beyond_the_end_is_no_part_of_it():
    history = History("m")
    history.add_log(closed("1.1", (0, 1)) + closed("1.2", (0, 2)) + closed("1.3", (1, 1)))
    history.add_log(closed("2.2", (1, 1)))
    with pytest.raises(Contradiction, match="nowhere client-0:2"):
        history.order(2, {(0, 1), (0, 2), (1, 1)})


def test_an_acknowledgement_stands_in_for_a_line_of_the_log():
    history = History("m")
    history.add_log(closed("1.1", (0, 1)))
    history.add_ledger(1, {1: answered(1, 2)})
    assert history.order(2, {(0, 1), (1, 1)}) == [[(0, 1)], [(1, 1)]]


def test_one_commit_without_a_witness_is_found_by_elimination_and_two_are_not():
    history = History("m")
    history.add_log(closed("1.1", (0, 1)))
    assert history.order(2, {(0, 1), (1, 1)}) == [[(0, 1)], [(1, 1)]]
    with pytest.raises(Contradiction):
        history.order(3, {(0, 1), (1, 1), (1, 2)})


def test_rounds_that_wait_hold_one_push_of_everyone():
    history = History("m", members=2)
    history.add_log(closed("1.1", (1, 1), (0, 1)))
    history.add_ledger(0, {2: answered(1, 2)})
    assert history.order(2, {(0, 1), (1, 1), (0, 2), (1, 2)}) == [[(0, 1), (1, 1)], [(0, 2), (1, 2)]]


def test_witnesses_that_disagree_are_not_believed():
    history = History("m")
    history.add_log(closed("1.1", (0, 1)))
    with pytest.raises(Contradiction, match="version 1.1"):
        history.add_ledger(1, {1: answered(1, 1)})


def test_a_push_in_two_commits_is_a_contradiction():
    history = History("m")
    history.add_log(closed("1.1", (0, 1)) + closed("1.2", (0, 1)))
    with pytest.raises(Contradiction, match="twice client-0:1"):
        history.order(2, {(0, 1)})


def test_pushes_of_a_client_that_are_out_of_order_are_a_contradiction():
    history = History("m")
    history.add_log(closed("1.1", (0, 2)) + closed("1.2", (0, 1)))
    with pytest.raises(Contradiction, match="push 2 of client 0 before push 1"):
        history.order(2, {(0, 1), (0, 2)})


def test_the_digits_say_which_push_is_lost_and_which_is_in_twice():
    total = np.zeros((2, pushes.ELEMENTS), np.float32)
    for index, number, times in [(0, 1, 1), (0, 2, 0), (0, 3, 2), (0, 11, 1), (1, 2560, 3)]:
        for _ in range(times):
            total += pushes.change(7, index, number, 2, 1)["digits"]
    counts = pushes.counts(total)
    assert counts[0, :3].tolist() == [1, 0, 2] and counts[0, 10] == 1 and counts[1, 2559] == 3
    assert counts.sum() == 7


def test_a_fraction_of_a_push_is_no_count():
    total = np.zeros((1, pushes.ELEMENTS), np.float32)
    total[0, 3] = 0.5
    with pytest.raises(ValueError, match="no sum of pushes"):
        pushes.counts(total)

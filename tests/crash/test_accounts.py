"""The history checker finds every kind of violation, and nothing in a history without one."""

import accounts
import pytest


def push(client, number, version, begin, end):
    return {"kind": "push", "who": f"writer-{client}", "client": client, "number": number,
            "version": version, "begin": begin, "end": end}


def pull(counts, version, begin, end, who="reader-0", view="train", whole=True):
    tensor = [[count, whole] for count in counts]
    return {"kind": "pull", "who": who, "view": view, "version": version, "begin": begin, "end": end,
            "tensors": {"a": tensor, "b": [list(pair) for pair in tensor]}}


def good():
    """Two writers, two readers, a crash that takes version 1.3 back, and its replay."""
    history = [
        push(0, 1, [1, 1], 0, 1),
        pull([1, 0], [1, 1], 1.5, 2),
        push(1, 1, [1, 2], 1, 3),
        push(0, 2, [1, 3], 3, 4),
        pull([2, 1], [1, 3], 4.1, 5, who="reader-1"),
        pull([1, 1], [2, 2], 6, 7),  # recovered: an older counter under a higher term
        push(0, 3, [2, 4], 6, 8),
        pull([0, 0], [2, 4], 9, 10, view="eval"),  # slow weights wait for the sync
    ]
    return history, pull([3, 1], [2, 4], 11, 12)


def test_a_history_without_violations_passes():
    assert accounts.check(*good()) == []


def planted(index, **changes):
    history, final = good()
    history[index] = {**history[index], **changes}
    return accounts.check(history, final)


@pytest.mark.parametrize(
    "found, words",
    [
        (planted(4, tensors={"a": [[2, True], [1, True]], "b": [[2, True], [0, True]]}), "torn across tensors"),
        (planted(4, tensors={"a": [[2, False], [1, True]], "b": [[2, False], [1, True]]}), "or one twice"),
        (planted(5, version=[1, 2]), "is older than"),
        (planted(4, version=[1, 1], begin=1.5, end=1.6), "to reader-0"),
        (planted(4, tensors={"a": [[1, True], [1, True]], "b": [[1, True], [1, True]]}), "lacks push 2"),
        (planted(1, tensors={"a": [[2, True], [0, True]], "b": [[2, True], [0, True]]}), "has push 2"),
        (planted(6, number=4), "not both: [3, 4]"),
    ],
    ids=["torn", "doubled", "backward", "contradictory", "missing", "early", "lost"],
)
def test_each_kind_of_violation_is_found(found, words):
    assert any(words in violation for violation in found), found


def test_a_push_that_is_lost_at_the_end_is_found():
    history, final = good()
    final = pull([2, 1], [2, 4], 11, 12)
    assert any("client 0" in violation for violation in accounts.check(history, final))


def test_slow_weights_must_not_run_ahead():
    history, final = good()
    history.append(pull([2, 0], [1, 1], 1.6, 1.7, view="eval"))
    assert any("has push 2" in violation for violation in accounts.check(history, final))

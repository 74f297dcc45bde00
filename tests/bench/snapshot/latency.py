"""How long calls take that a model's strand answers, beside the same calls to a model that nobody else uses.

Both are asked in turn, so whatever the machine does to one it does to the other: the difference is what goes on in
the model.
"""

import time


def ask_in_turn(call, control, until):
    """(seconds of each `call()`, seconds of each `control()`), alternately until `until()` says so."""
    taken = ([], [])
    while not until():
        for seconds, ask in zip(taken, (call, control)):
            began = time.monotonic()
            ask()
            seconds.append(time.monotonic() - began)
    return taken


def quantile(seconds, share):
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

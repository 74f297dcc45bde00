"""What a push adds to the weights, as a function of who pushes and which of its pushes it is.

The tensor "digits" counts: push `number` of client `index` adds 1 to its own digit, base 4, of its own element, which
fp32 holds exactly. So the final weights say of every single push whether it is in never, once, twice or thrice. The
tensor "noise" takes arbitrary fp32 numbers: its last bits depend on the order of the commits.
"""

import numpy as np

DIGITS = 10  # per element: sums stay below 4^10 = 2^20
ELEMENTS = 256  # per client
CAPACITY = DIGITS * ELEMENTS  # pushes per client
NOISE = 64


def shapes(clients):
    return {"digits": (clients, ELEMENTS), "noise": (NOISE,)}


def zeros(clients):
    return {name: np.zeros(shape, np.float32) for name, shape in shapes(clients).items()}


def change(seed, index, number, clients, share):
    """The change that push `number` (from 1) of client `index` makes; `share` is how many pushes make one mean."""
    digits = np.zeros((clients, ELEMENTS), np.float32)
    element, digit = divmod(number - 1, DIGITS)
    digits[index, element] = share * 4**digit
    noise = np.random.default_rng([seed, index, number]).standard_normal(NOISE, dtype=np.float32)
    return {"digits": digits, "noise": noise}


def samples(number):
    """Samples behind a push: unequal, so that their total tells pushes apart."""
    return 1 + number % 3


def counts(digits):
    """How often each push is in: [client, number - 1]. ValueError where an element is no sum of pushes."""
    values = np.asarray(digits, np.float64)
    if not np.array_equal(values, np.floor(values)) or (values < 0).any() or (values >= 4**DIGITS).any():
        raise ValueError(f"the digits are no sum of pushes: {values[values != np.floor(values)][:4]}")
    powers = 4 ** np.arange(DIGITS)
    return (values.astype(np.int64)[:, :, None] // powers % 4).reshape(len(values), -1)


def payload(arrays):
    """The wire form of a push: the tensors in table order."""
    return arrays["digits"].astype("<f4").tobytes() + arrays["noise"].astype("<f4").tobytes()


def payload_bytes(clients):
    return 4 * (clients * ELEMENTS + NOISE)


def gradient_payload(seed, index, number, clients, share):
    """Descent at a rate of 1 adds what is counted, so digits come with a minus."""
    arrays = change(seed, index, number, clients, share)
    return payload({**arrays, "digits": -arrays["digits"]})

"""The plain mean."""

CASES = {"mean": {}}


def least():
    return 1


def aggregate(contributions):
    return [sum(column) / len(column) for column in zip(*contributions)]

"""Yin et al. 2018, definition 1: the usual one-dimensional median of every coordinate."""
import statistics

CASES = {"median": {}}


def least():
    return 1


def aggregate(contributions):
    return [statistics.median(column) for column in zip(*contributions)]

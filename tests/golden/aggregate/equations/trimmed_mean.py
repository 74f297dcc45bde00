"""Yin et al. 2018, definition 2: of every coordinate, without the largest and smallest fraction beta."""
import math

CASES = {"flower": {"beta": 0.2}, "none": {"beta": 0.0}, "nearly_all": {"beta": 0.45}}


def least(beta):
    return 1


def aggregate(contributions, beta):
    dropped = math.floor(beta * len(contributions))
    kept = [sorted(column)[dropped:len(column) - dropped] for column in zip(*contributions)]
    return [sum(values) / len(values) for values in kept]

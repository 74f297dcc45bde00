"""A model whose state fills a given number of bytes: slow and fast weights, both moments of Adam."""

import numpy as np

import stepback

TENSORS = 8
BYTES_PER_PARAMETER = 16


def big_weights(size):
    """fp32 arrays by name, random, so that no disk finds them easy; a sixteenth of `size` in parameters."""
    count = size // BYTES_PER_PARAMETER // TENSORS
    generator = np.random.default_rng(1)
    return {f"w{i}": generator.standard_normal(count, dtype=np.float32) for i in range(TENSORS)}


def create_big_model(connection, name, weights, **settings):
    return connection.create_model(name, weights, mode="gradient", inner=stepback.adam(lr=0.01), **settings)


def newest_snapshot(data, name):
    """The files of its newest snapshot in the data directory `data`."""
    folder = max((data / "models" / name).glob("snap-*"))
    return sorted(folder.glob("*.bin"))

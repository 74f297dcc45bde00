"""The task's data: the bytes of the Python standard library's own sources, split by file."""

from __future__ import annotations

import random
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List

import torch
from torch import Tensor

SPLIT_SEED = 2311  # of the split into training and validation files
VALIDATION_SHARE = 0.1
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


@dataclass(frozen=True)
class Corpus:
    """Bytes of whole files in shuffled order; no file is on both sides."""

    train: Tensor  # uint8
    validation: Tensor
    train_files: int
    validation_files: int

    @staticmethod
    def load() -> Corpus:
        files = sources()
        random.Random(SPLIT_SEED).shuffle(files)
        cut = round(len(files) * VALIDATION_SHARE)
        held_out, rest = files[:cut], files[cut:]
        return Corpus(joined(rest), joined(held_out), len(rest), len(held_out))

    def shard(self, index: int, count: int) -> Tensor:
        """One of ``count`` equal parts of the training bytes: a worker's own."""
        size = len(self.train) // count
        return self.train[index * size : (index + 1) * size]

    def batches(self, workers: int, batch: int, context: int, seed: int) -> Iterator[Tensor]:
        """Random windows of every worker's own shard, [workers, batch, context + 1], without end; the same
        for the same seed."""
        shards = [self.shard(index, workers) for index in range(workers)]
        generator = torch.Generator().manual_seed(seed)
        while True:
            starts = torch.randint(len(shards[0]) - context, (workers, batch), generator=generator)
            yield torch.stack([cut_out(shard, own, context) for shard, own in zip(shards, starts)])

    def windows(self, workers: int, count: int, context: int) -> Tensor:
        """Evenly spaced over the validation bytes, always the same: [workers, count, context + 1]."""
        starts = torch.linspace(0, len(self.validation) - context - 1, workers * count).long()
        return cut_out(self.validation, starts, context).view(count, workers, -1).transpose(0, 1)

    def __str__(self) -> str:
        return (
            f"{len(self.train):,} bytes of {self.train_files} files to train on, "
            f"{len(self.validation):,} bytes of {self.validation_files} files to validate on "
            f"(split with seed {SPLIT_SEED})"
        )


def sources() -> List[Path]:
    """The library's .py files in an order that every machine agrees on, without its tests."""
    root = Path(sysconfig.get_path("stdlib"))
    files = (path for path in root.rglob("*.py") if path.is_file())
    return sorted(path for path in files if not LEFT_OUT & set(path.relative_to(root).parts))


def joined(files: List[Path]) -> Tensor:
    return torch.frombuffer(bytearray(b"".join(path.read_bytes() for path in files)), dtype=torch.uint8)


def cut_out(data: Tensor, starts: Tensor, context: int) -> Tensor:
    return data[starts[:, None] + torch.arange(context + 1)].long()

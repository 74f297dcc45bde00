"""The quickstart's task: handwritten digits (8x8 scans that ship with scikit-learn), a small network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, Tuple

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

BATCH = 32


@dataclass(frozen=True)
class Digits:
    """1,797 scans, a quarter of them kept for the test."""

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor

    @staticmethod
    def load() -> Digits:
        scans = load_digits()
        pixels = (scans.data / 16).astype(np.float32)
        parts = train_test_split(pixels, scans.target, test_size=0.25, random_state=0, stratify=scans.target)
        train_x, test_x, train_y, test_y = (torch.from_numpy(part) for part in parts)
        return Digits(train_x, train_y, test_x, test_y)

    def shard(self, index: int, count: int) -> Digits:
        """Every ``count``-th training scan, for one of ``count`` workers."""
        return Digits(self.train_x[index::count], self.train_y[index::count], self.test_x, self.test_y)

    def batches(self, seed: int) -> Iterator[Tuple[Tensor, Tensor]]:
        """Random batches without end, the same for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        while True:
            chosen = torch.randint(len(self.train_x), (BATCH,), generator=generator)
            yield self.train_x[chosen], self.train_y[chosen]


def network(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 10))


def loss_of(module: torch.nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(module(x), y)


@torch.no_grad()
def test_loss(module: torch.nn.Module, digits: Digits) -> float:
    return loss_of(module, digits.test_x, digits.test_y).item()


@torch.no_grad()
def accuracy(module: torch.nn.Module, digits: Digits) -> float:
    return (module(digits.test_x).argmax(1) == digits.test_y).float().mean().item()

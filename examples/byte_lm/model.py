"""The model: a byte-level transformer of about 0.12 million parameters, all workers' replicas at once.

Weights are tensors by name. Those of several workers are stacked, [workers, ...]: every operation below is
done for each worker on its own, so that one process trains them all.
"""

from __future__ import annotations

import math
from typing import Dict

import torch
from torch import Tensor
from torch.nn import functional

VOCABULARY = 256
CONTEXT, WIDTH, LAYERS, HEADS = 64, 64, 2, 2
MASK = torch.full((CONTEXT, CONTEXT), -math.inf).triu(1)

Weights = Dict[str, Tensor]


def network(seed: int) -> Weights:
    """New weights of one model: matrices of variance 1 / fan-in, a quarter of it where a block ends."""
    generator = torch.Generator().manual_seed(seed)

    def normal(rows: int, columns: int, spread: float) -> Tensor:
        return torch.randn(rows, columns, generator=generator) * spread

    weights = {"byte": normal(VOCABULARY, WIDTH, 0.02), "position": normal(CONTEXT, WIDTH, 0.02)}
    for layer in range(LAYERS):
        weights[f"{layer}.attention_norm"] = torch.ones(WIDTH)
        weights[f"{layer}.query_key_value"] = normal(3 * WIDTH, WIDTH, WIDTH**-0.5)
        weights[f"{layer}.attention_out"] = normal(WIDTH, WIDTH, WIDTH**-0.5 / 2)
        weights[f"{layer}.feed_norm"] = torch.ones(WIDTH)
        weights[f"{layer}.feed_in"] = normal(4 * WIDTH, WIDTH, WIDTH**-0.5)
        weights[f"{layer}.feed_out"] = normal(WIDTH, 4 * WIDTH, (4 * WIDTH) ** -0.5 / 2)
    weights["norm"] = torch.ones(WIDTH)
    return weights


def losses(weights: Weights, windows: Tensor) -> Tensor:
    """Mean cross-entropy in nats per byte of every worker, [workers], each over its own windows
    [workers, batch, CONTEXT + 1]. The embedding is the output layer too."""
    workers = len(windows)
    rows = windows[..., :-1] + VOCABULARY * torch.arange(workers)[:, None, None]
    hidden = functional.embedding(rows, weights["byte"].flatten(0, 1)) + weights["position"][:, None]
    for layer in range(LAYERS):
        hidden = hidden + attention(weights, f"{layer}.", hidden)
        hidden = hidden + feed_forward(weights, f"{layer}.", hidden)
    logits = linear(norm(hidden, weights["norm"]), weights["byte"])
    each = functional.cross_entropy(logits.flatten(0, 2), windows[..., 1:].flatten(), reduction="none")
    return each.view(workers, -1).mean(1)


def attention(weights: Weights, layer: str, x: Tensor) -> Tensor:
    workers, batch, length, _ = x.shape
    joined = linear(norm(x, weights[layer + "attention_norm"]), weights[layer + "query_key_value"])
    heads = joined.view(workers * batch, length, 3, HEADS, WIDTH // HEADS)
    query, key, value = heads.permute(2, 0, 3, 1, 4)
    scores = query @ key.transpose(-1, -2) / math.sqrt(WIDTH // HEADS) + MASK
    mixed = (scores.softmax(-1) @ value).transpose(1, 2)
    return linear(mixed.reshape(workers, batch, length, WIDTH), weights[layer + "attention_out"])


def feed_forward(weights: Weights, layer: str, x: Tensor) -> Tensor:
    inner = linear(norm(x, weights[layer + "feed_norm"]), weights[layer + "feed_in"])
    return linear(functional.relu(inner), weights[layer + "feed_out"])


def linear(x: Tensor, weight: Tensor) -> Tensor:
    workers, batch, length, width = x.shape
    product = torch.bmm(x.view(workers, batch * length, width), weight.transpose(1, 2))
    return product.view(workers, batch, length, -1)


def norm(x: Tensor, scale: Tensor) -> Tensor:
    return functional.layer_norm(x, (WIDTH,)) * scale[:, None, None]

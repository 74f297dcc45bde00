"""A module's tensors as a model's tensor table: names and roles from the module itself."""

from __future__ import annotations

from typing import Dict, Iterable, Mapping, Tuple

import torch
from torch import Tensor
from torch.nn import Module

from stepback.torch._merge import slow_copy, widened


class ModuleTable:
    """Every parameter and persistent buffer once, by its first name.

    Parameters are trained, or frozen without ``requires_grad``. Float buffers (BatchNorm statistics) are
    averaged over the workers, others (counters) carried. Tensors that share their memory, tied weights, are
    one entry.

    >>> ModuleTable(torch.nn.BatchNorm1d(2)).roles["num_batches_tracked"]
    'carried'
    """

    def __init__(self, module: Module) -> None:
        self.tensors: Dict[str, Tensor] = {}
        self.roles: Dict[str, str] = {}
        seen = set()
        for name, tensor in module.state_dict(keep_vars=True).items():
            if isinstance(tensor, Tensor) and _memory(tensor) not in seen:
                seen.add(_memory(tensor))
                self.tensors[name] = tensor
                self.roles[name] = _role(name, tensor)
        # fp32 masters of half-precision tensors: what the server has, before rounding.
        self._masters = {n: slow_copy(t) for n, t in self.tensors.items() if self._is_half(n)}

    def weights(self) -> Dict[str, Tensor]:
        """The module's tensors, to create a model with."""
        return {name: tensor.detach() for name, tensor in self.tensors.items()}

    def outgoing(self) -> Dict[str, Tensor]:
        """What a sync pushes: everything but the frozen part."""
        return {
            name: widened(self._masters[name], tensor) if name in self._masters else tensor.detach()
            for name, tensor in self.tensors.items()
            if self.roles[name] != "frozen"
        }

    def incoming(self, frozen: bool) -> Dict[str, Tensor]:
        """What a pull writes to: the module's own memory, or the masters of half-precision tensors."""
        return {
            name: self._masters.get(name, tensor.detach())
            for name, tensor in self.tensors.items()
            if frozen or self.roles[name] != "frozen"
        }

    @torch.no_grad()
    def round_masters(self) -> None:
        """Masters -> module, after a pull."""
        for name, master in self._masters.items():
            self.tensors[name].copy_(master)

    @torch.no_grad()
    def take(self, values: Mapping[str, Tensor], names: Iterable[str]) -> None:
        """``values``, which began as ``outgoing``, into the module: those of these names."""
        for name in names:
            if name in self._masters:
                self._masters[name].copy_(values[name])
                self.tensors[name].copy_(values[name])
            elif values[name].data_ptr() != self.tensors[name].data_ptr():
                self.tensors[name].copy_(values[name])

    def _is_half(self, name: str) -> bool:
        return self.tensors[name].dtype in (torch.float16, torch.bfloat16) and self.roles[name] != "carried"


def _role(name: str, tensor: Tensor) -> str:
    if tensor.is_complex():
        raise TypeError(f"tensor '{name}' is complex, which the server's rules do not take")
    if not tensor.is_floating_point():
        return "carried"
    if not isinstance(tensor, torch.nn.Parameter):
        return "averaged"
    return "trained" if tensor.requires_grad else "frozen"


def _memory(tensor: Tensor) -> Tuple[object, ...]:
    """Equal for tensors that are the same memory; empty tensors share none."""
    if tensor.numel() == 0:
        return (id(tensor),)
    return (tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())

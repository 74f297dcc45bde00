"""A model's weights by name, as a pull or step brought them."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, MutableMapping, Optional, Sequence

from stepback._arrays import Array, Sink, to_core
from stepback._errors import InvalidArgumentError
from stepback._types import PullInfo, StepResult, TensorInfo, Version


class Weights(Dict[str, Any]):
    """Name -> array, in table order; ``info`` says which version, ``step`` how it came."""

    def __init__(self, values: Mapping[str, Any], info: PullInfo, step: Optional[StepResult] = None) -> None:
        super().__init__(values)
        self.info = info
        self.step = step

    @property
    def version(self) -> Version:
        return self.info.version


def collect(model: str, tensors: Sequence[TensorInfo], values: Mapping[str, Any]) -> List[Optional[Array]]:
    """``values`` in table order for the core; None where a name is missing or frozen."""
    refuse_unknown(model, tensors, values)
    return [
        to_core(info, values[info.name]) if info.name in values and info.role != "frozen" else None
        for info in tensors
    ]


class Sinks:
    """One sink per table entry: new arrays, or the caller's own where ``into`` names them."""

    def __init__(
        self,
        model: str,
        tensors: Sequence[TensorInfo],
        into: Optional[MutableMapping[str, Any]],
        of: Optional[Sequence[TensorInfo]] = None,
    ) -> None:
        """``of``: the only tensors that are received; None: all."""
        if into is not None:
            refuse_unknown(model, tensors, into)
        self._sinks = {
            info.name: Sink(info, None if into is None else into[info.name])
            for info in (tensors if of is None else of)
            if into is None or info.name in into
        }
        self.arrays: List[Optional[Array]] = [
            self._sinks[info.name].array if info.name in self._sinks else None for info in tensors
        ]

    def finish(self) -> Dict[str, Any]:
        return {name: sink.finish() for name, sink in self._sinks.items()}


def refuse_unknown(model: str, tensors: Sequence[TensorInfo], values: Mapping[str, Any]) -> None:
    unknown = set(values) - {info.name for info in tensors}
    if unknown:
        raise InvalidArgumentError(f"model '{model}' has no tensor '{min(unknown)}'")

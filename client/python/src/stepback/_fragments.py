"""Fragments: parts of a model that sync on their own schedules (Streaming DiLoCo)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Iterable, Optional, Sequence, Tuple, Union

if TYPE_CHECKING:
    from stepback._types import TensorInfo, Version


@dataclass(frozen=True)
class FragmentPart:
    """One fragment by its tensors; ``fragments()`` makes it."""

    tensors: Tuple[str, ...]
    offset: Optional[int] = None


@dataclass(frozen=True)
class Fragments:
    """Use ``fragments()``."""

    count: int = 0
    parts: Tuple[FragmentPart, ...] = ()
    overlap_steps: int = 0
    mixing: Optional[float] = None


@dataclass(frozen=True)
class FragmentInfo:
    """One fragment of a model, as it is."""

    ranges: Tuple[Tuple[int, int], ...]  # (first element, count) in the table; empty in listings
    offset: int  # local step, modulo H, of its pushes
    version: Version  # that changed it last
    outer_steps: int
    inner_steps: int
    samples: int


def fragments(
    parts: Union[int, Iterable[Sequence[str]]],
    *,
    offsets: Optional[Sequence[int]] = None,
    overlap_steps: int = 0,
    mixing: Optional[float] = None,
) -> Fragments:
    """Cuts a model into parts that sync one after the other instead of all at once.

    Args:
        parts: how many, of about equal bytes in table order; or the names of the tensors of each.
        offsets: with names: the local step, modulo H, at which each is pushed; default: spread evenly.
        overlap_steps: local steps that workers go on for between sending a part and taking its result;
            ``overlap_steps x parts`` must be below H.
        mixing: alpha of ``theta = alpha theta + (1 - alpha) received``; default 0, or 0.5 with overlap.

    >>> fragments(8, overlap_steps=2).count
    8
    >>> fragments([["a", "b"], ["c"]], offsets=[0, 5]).parts[1]
    FragmentPart(tensors=('c',), offset=5)
    """
    if isinstance(parts, int):
        if offsets is not None:
            raise ValueError("offsets are for parts by name, expected none beside a number of parts")
        return Fragments(parts, (), overlap_steps, mixing)
    named = [tuple(names) for names in parts]
    at: Sequence[Optional[int]] = [None] * len(named) if offsets is None else list(offsets)
    if len(at) != len(named):
        raise ValueError(f"offsets has {len(at)} entries, expected {len(named)}, one per part")
    listed = tuple(FragmentPart(names, offset) for names, offset in zip(named, at))
    return Fragments(0, listed, overlap_steps, mixing)


def names_of(fragment: FragmentInfo, tensors: Sequence[TensorInfo]) -> Tuple[str, ...]:
    """The tensors that lie in the fragment, in table order."""
    names = []
    ranges = iter(fragment.ranges)
    current = next(ranges, None)
    begin = 0
    for info in tensors:
        while current is not None and current[0] + current[1] <= begin:
            current = next(ranges, None)
        if current is not None and current[0] <= begin and info.elements > 0:
            names.append(info.name)
        begin += info.elements
    return tuple(names)

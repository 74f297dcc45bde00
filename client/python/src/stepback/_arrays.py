"""Arrays of any library in and out of the form that the core reads: dense fp32, or raw bytes for carried
tensors.

NumPy arrays and torch tensors on the CPU that are contiguous fp32 pass without a copy; the rest is converted.
Anything else with ``__dlpack__`` or ``__array__`` is taken as NumPy sees it.
"""

from __future__ import annotations

import sys
from typing import Any, Dict, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from stepback._errors import InvalidArgumentError
from stepback._types import TensorInfo

Array = NDArray[Any]

_DTYPES: Dict[str, str] = {
    "float32": "f32",
    "float64": "f64",
    "float16": "f16",
    "bfloat16": "bf16",  # torch's, or ml_dtypes': NumPy has none of its own
    "int8": "i8",
    "int16": "i16",
    "int32": "i32",
    "int64": "i64",
    "uint8": "u8",
    "bool": "bool",
}
_NUMPY: Dict[str, Any] = {
    "f32": np.float32,
    "f64": np.float64,
    "f16": np.float16,
    "bf16": np.float32,
    "i8": np.int8,
    "i16": np.int16,
    "i32": np.int32,
    "i64": np.int64,
    "u8": np.uint8,
    "bool": np.bool_,
}
_FLOATS = ("f32", "f64", "f16", "bf16")


def is_torch(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def as_numpy(value: Any) -> Tuple[Array, str]:
    """``value`` as NumPy sees it, without a copy where possible, and its dtype's name ("float32")."""
    if is_torch(value):
        return _torch_as_numpy(value)
    array = value if isinstance(value, np.ndarray) else _foreign_as_numpy(value)
    return array, array.dtype.name


def _foreign_as_numpy(value: Any) -> Array:
    if hasattr(value, "__dlpack__") and not isinstance(value, np.generic):
        try:
            return np.from_dlpack(value)
        except (
            BufferError,
            RuntimeError,
            TypeError,
        ):  # another device, or a type that DLPack and NumPy do not share
            pass
    return np.asarray(value)


def _torch_as_numpy(tensor: Any) -> Tuple[Array, str]:
    name = str(tensor.dtype).rpartition(".")[2]
    dense = tensor.detach() if tensor.layout is sys.modules["torch"].strided else tensor.detach().to_dense()
    dense = dense.cpu().resolve_conj().resolve_neg()
    return (dense.float() if name == "bfloat16" else dense).numpy(), name


def describe(name: str, value: Any, role: Optional[str] = None) -> TensorInfo:
    """The table entry of a tensor. Without a role, floats are trained and everything else is carried.

    >>> describe("steps", np.zeros((), np.int64))
    TensorInfo(name='steps', shape=(), dtype='i64', role='carried')
    """
    array, dtype_name = as_numpy(value)
    dtype = _DTYPES.get(dtype_name)
    if dtype is None:
        raise InvalidArgumentError(
            f"tensor '{name}' has dtype {dtype_name}, expected one of {', '.join(_DTYPES)}"
        )
    return TensorInfo(name, tuple(array.shape), dtype, role or ("trained" if dtype in _FLOATS else "carried"))


def core_dtype(info: TensorInfo) -> Any:
    """What the core reads and writes: fp32, or a carried tensor's own type (bf16 as 16-bit words)."""
    if info.role != "carried":
        return np.float32
    return np.uint16 if info.dtype == "bf16" else _NUMPY[info.dtype]


def to_core(info: TensorInfo, value: Any) -> Array:
    """``value`` in the form that the core reads."""
    if info.role == "carried" and info.dtype == "bf16":
        array = _bf16_words(value)
    else:
        array, _ = as_numpy(value)
    if tuple(array.shape) != info.shape:
        raise InvalidArgumentError(
            f"tensor '{info.name}' has shape {tuple(array.shape)}, expected {info.shape}"
        )
    return np.require(array, core_dtype(info), "C").reshape(info.shape)


def _bf16_words(value: Any) -> Array:
    """bf16 without a round trip through floats: the bits as 16-bit words."""
    if is_torch(value):
        torch = sys.modules["torch"]
        words: Array = value.detach().cpu().contiguous().view(torch.int16).numpy()
        return words.view(np.uint16)
    return np.ascontiguousarray(value).view(np.uint16)


class Sink:
    """Where the core writes one tensor: the caller's own memory when it fits, a fresh array otherwise.

    ``finish`` gives the caller's form of it: the target itself, or an array of the trainer's dtype.
    """

    def __init__(self, info: TensorInfo, target: Optional[Any] = None) -> None:
        self._info = info
        self._target = target
        direct = None if target is None else _writable_view(info, target)
        self.array: Array = np.empty(info.shape, core_dtype(info)) if direct is None else direct
        self._direct = direct is not None

    def finish(self) -> Any:
        if self._target is None:
            return _in_trainers_dtype(self._info, self.array)
        if not self._direct:
            _copy_into(self._target, _in_trainers_dtype(self._info, self.array))
        return self._target


def _writable_view(info: TensorInfo, target: Any) -> Optional[Array]:
    """``target``'s memory if the core can write it as it is, None if a copy must; refuses other shapes."""
    if tuple(target.shape) != info.shape:
        raise InvalidArgumentError(
            f"target of '{info.name}' has shape {tuple(target.shape)}, expected {info.shape}"
        )
    if is_torch(target):
        plain = target.device.type == "cpu" and target.layout is sys.modules["torch"].strided
        if not plain or target.is_conj() or target.is_neg() or "bfloat16" in str(target.dtype):
            return None
        array: Array = target.detach().numpy()
    elif isinstance(target, np.ndarray):
        array = target
        if not array.flags.writeable:
            raise InvalidArgumentError(f"target of '{info.name}' is read-only")
    else:
        raise InvalidArgumentError(
            f"target of '{info.name}' is a {type(target).__name__}, expected an array or tensor"
        )
    fits = array.dtype == core_dtype(info) and array.flags.c_contiguous
    return array if fits else None


def _in_trainers_dtype(info: TensorInfo, array: Array) -> Array:
    if info.dtype == "bf16":
        return array  # fp32 holds every bf16; carried ones stay 16-bit words
    return array.astype(_NUMPY[info.dtype], copy=False)


def _copy_into(target: Any, array: Array) -> None:
    if not is_torch(target):
        target[...] = array
        return
    torch = sys.modules["torch"]
    words = array.dtype == np.uint16  # carried bf16
    source = torch.from_numpy(array.view(np.int16) if words else array)
    with torch.no_grad():
        target.copy_(source.view(torch.bfloat16) if words else source)

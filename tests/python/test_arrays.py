"""Arrays in and out: what passes without a copy, what is converted, what is refused."""

import numpy as np
import pytest
import torch

import stepback
from stepback import TensorInfo
from stepback._arrays import Sink, describe, to_core


def shares_memory(array, tensor):
    return array.__array_interface__["data"][0] == tensor.data_ptr()


def test_contiguous_fp32_passes_without_a_copy():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.shares_memory(to_core(describe("w", array), array), array)
    tensor = torch.arange(6.0).reshape(2, 3).requires_grad_()
    assert shares_memory(to_core(describe("w", tensor), tensor), tensor)


@pytest.mark.parametrize(
    "value, dtype",
    [
        (np.array([1.5, -2.0], np.float64), "f64"),
        (np.array([1.5, -2.0], np.float16), "f16"),
        (np.array([1.5, -2.0], ">f4"), "f32"),
        (torch.tensor([1.5, -2.0], dtype=torch.float64), "f64"),
        (torch.tensor([1.5, -2.0], dtype=torch.float16), "f16"),
        (torch.tensor([1.5, -2.0], dtype=torch.bfloat16), "bf16"),
        (torch.tensor([[1.5, 0.0], [-2.0, 0.0]])[:, 0], "f32"),  # a stride of 2
        (torch.tensor([1.5, -2.0]).to_sparse(), "f32"),
    ],
)
def test_other_forms_are_converted(value, dtype):
    info = describe("w", value)
    assert (info.dtype, info.role, info.shape) == (dtype, "trained", (2,))
    array = to_core(info, value)
    assert array.dtype == np.float32 and array.flags.c_contiguous
    assert array.tolist() == [1.5, -2.0]


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "bool"])
def test_other_types_are_carried_as_they_are(dtype):
    for value in (np.array([1, 0], dtype), torch.tensor([1, 0], dtype=getattr(torch, dtype))):
        info = describe("n", value)
        assert info.role == "carried"
        assert to_core(info, value).dtype == np.dtype(dtype)


def test_anything_with_dlpack_or_array_is_taken():
    class Foreign:
        def __init__(self, tensor):
            self.tensor = tensor

        def __dlpack__(self, stream=None):
            return self.tensor.__dlpack__()

        def __dlpack_device__(self):
            return self.tensor.__dlpack_device__()

    tensor = torch.arange(3.0)
    foreign = Foreign(tensor)
    assert shares_memory(to_core(describe("w", foreign), foreign), tensor)
    assert to_core(describe("w", [1.0, 2.0]), [1.0, 2.0]).tolist() == [1.0, 2.0]
    assert describe("x", 3.0) == TensorInfo("x", (), "f64", "trained")


def test_types_that_no_model_takes_are_named():
    with pytest.raises(stepback.InvalidArgumentError, match="tensor 'w' has dtype complex64"):
        describe("w", np.zeros(2, np.complex64))
    with pytest.raises(ValueError, match="tensor 'w' has shape \\(3,\\), expected \\(2,\\)"):
        to_core(TensorInfo("w", (2,)), np.zeros(3, np.float32))


def test_carried_bf16_travels_as_its_bits():
    value = torch.tensor([1.0, float("nan"), -0.0], dtype=torch.bfloat16)
    info = describe("stamp", value, role="carried")
    words = to_core(info, value)
    assert words.dtype == np.uint16
    target = torch.zeros(3, dtype=torch.bfloat16)
    sink = Sink(info, target)
    sink.array[...] = words
    sink.finish()
    assert torch.equal(target.view(torch.int16), value.view(torch.int16))


def test_sinks_write_into_the_callers_memory_when_it_fits():
    info = TensorInfo("w", (2, 2))
    array, tensor = np.zeros((2, 2), np.float32), torch.nn.Parameter(torch.zeros(2, 2))
    assert np.shares_memory(Sink(info, array).array, array)
    assert shares_memory(Sink(info, tensor).array, tensor)
    scalar = torch.nn.Parameter(torch.tensor(1.0))
    assert shares_memory(Sink(TensorInfo("s", ()), scalar).array, scalar)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(2, 2, dtype=torch.bfloat16),
        lambda: torch.zeros(2, 2, dtype=torch.float64),
        lambda: torch.zeros(2, 4)[:, ::2],
        lambda: np.zeros((2, 4), np.float64)[:, ::2],
        lambda: np.zeros((2, 2), np.float16),
    ],
)
def test_sinks_convert_where_it_does_not_fit(make):
    target = make()
    sink = Sink(TensorInfo("w", (2, 2)), target)
    sink.array[...] = [[1, 2], [3, 4]]
    assert sink.finish() is target
    assert np.asarray(torch.as_tensor(target).float()).tolist() == [[1, 2], [3, 4]]


def test_fresh_arrays_have_the_trainers_dtype_where_numpy_has_it():
    for dtype, expected in [
        ("f32", np.float32),
        ("f64", np.float64),
        ("f16", np.float16),
        ("bf16", np.float32),
    ]:
        assert Sink(TensorInfo("w", (2,), dtype)).finish().dtype == expected
    assert Sink(TensorInfo("n", (2,), "i64", "carried")).finish().dtype == np.int64


def test_targets_that_cannot_be_written_are_refused():
    read_only = np.zeros(2, np.float32)
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        Sink(TensorInfo("w", (2,)), read_only)
    with pytest.raises(ValueError, match="shape"):
        Sink(TensorInfo("w", (2,)), np.zeros(3, np.float32))

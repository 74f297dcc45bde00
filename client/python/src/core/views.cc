#include "client/python/src/core/views.h"

namespace py = pybind11;

namespace stepback::python {
namespace {

// What an empty tensor points at: there, but without bytes (nullptr means "not there").
std::byte nothing{};

}  // namespace

Views::Views(const py::sequence& arrays, bool writable) {
  views_.reserve(arrays.size());
  pinned_.reserve(arrays.size());
  for (const py::handle array : arrays) {
    if (array.is_none()) {
      views_.push_back({});
    } else {
      Pin(array.ptr(), writable);
    }
  }
}

Views::~Views() { Release(); }

void Views::Pin(PyObject* array, bool writable) {
  Py_buffer view;
  if (PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | (writable ? PyBUF_WRITABLE : 0)) != 0) {
    Release();
    throw py::error_already_set();
  }
  pinned_.push_back(view);
  views_.push_back({view.len > 0 ? view.buf : &nothing, static_cast<uint64_t>(view.len)});
}

void Views::Release() {
  for (Py_buffer& view : pinned_) PyBuffer_Release(&view);
  pinned_.clear();
}

std::vector<client::TensorData> Views::data() const {
  std::vector<client::TensorData> data;
  data.reserve(views_.size());
  for (const View& view : views_) data.push_back({view.data, view.bytes, 0});
  return data;
}

std::vector<client::TensorSink> Views::sinks() const {
  std::vector<client::TensorSink> sinks;
  sinks.reserve(views_.size());
  for (const View& view : views_) sinks.push_back({view.data, view.bytes, 0});
  return sinks;
}

}  // namespace stepback::python

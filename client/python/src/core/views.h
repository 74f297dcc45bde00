// The memory of Python arrays as the client's TensorData and TensorSink, pinned while a call runs. Made and
// destroyed with the GIL; read without it.
#pragma once

#include <pybind11/pybind11.h>

#include <vector>

#include "stepback/tensor.h"

namespace stepback::python {

class Views {
 public:
  // One entry per tensor: an object with a C-contiguous buffer, or None.
  Views(const pybind11::sequence& arrays, bool writable);
  ~Views();
  Views(const Views&) = delete;
  Views& operator=(const Views&) = delete;

  std::vector<client::TensorData> data() const;
  std::vector<client::TensorSink> sinks() const;

 private:
  struct View {
    void* data = nullptr;
    uint64_t bytes = 0;
  };
  void Pin(PyObject* array, bool writable);
  void Release();

  std::vector<Py_buffer> pinned_;
  std::vector<View> views_;
};

}  // namespace stepback::python

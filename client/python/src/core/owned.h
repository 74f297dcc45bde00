// A pointer for Python objects to hold: destroyed without the GIL, and left alone in a forked child, where
// the threads behind the object do not exist.
#pragma once

#include <pybind11/pybind11.h>
#include <unistd.h>

#include <memory>
#include <utility>

#include "client/python/src/core/errors.h"

namespace stepback::python {

template <class T>
class Owned {
 public:
  Owned(const char* what, std::shared_ptr<T> value)
      : what_(what), process_(getpid()), value_(std::move(value)) {}
  Owned(Owned&&) = default;
  ~Owned() { Drop(); }

  // Raises DetachedError in a forked child.
  T& operator*() const {
    if (getpid() != process_) RaiseDetached(what_);
    return *value_;
  }
  T* operator->() const { return &**this; }

 private:
  void Drop() {
    if (value_ == nullptr) return;
    if (getpid() != process_) {
      new std::shared_ptr<T>(std::move(value_));  // never destroyed: its threads are the parent's
      return;
    }
    pybind11::gil_scoped_release without_gil;  // closing a session is a call to the server
    value_.reset();
  }

  const char* what_;
  pid_t process_;
  std::shared_ptr<T> value_;
};

// Runs `call`, which may block, without the GIL.
template <class F>
auto WithoutGil(F&& call) {
  pybind11::gil_scoped_release without_gil;
  return call();
}

}  // namespace stepback::python

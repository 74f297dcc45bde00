// The machine below the engine: memory pool, device, compute threads. Buffers point into it, so it goes last.
//
// Owner: Server. Thread: Make and the destructor from one; the parts say their own.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/executor.h"
#include "server/base/pool.h"
#include "server/config/config.h"

namespace stepback {

class Compute {
 public:
  // INVALID_ARGUMENT(CPU_TARGET_UNKNOWN) or FAILED_PRECONDITION(NO_DEVICE). "auto" takes a GPU where there is
  // one.
  static absl::StatusOr<std::unique_ptr<Compute>> Make(const Config::Compute& config);

  BufferPool* pool() { return &pool_; }
  kernels::Backend* backend() { return backend_.get(); }
  kernels::Executor* executor() { return executor_.get(); }
  uint32_t threads() const { return threads_; }

  // Lets `compute` go once no buffer is in use. The transport may hold the last slices of a version for a
  // moment after its server has gone; memory that never comes back is left to the process, with a line in the
  // log.
  static void Release(std::unique_ptr<Compute> compute);

 private:
  Compute() = default;
  absl::Status OpenDevice(const Config::Compute& config);
  absl::Status OpenCpu(const Config::Compute& config);

  BufferPool pool_;
  std::unique_ptr<kernels::Backend> backend_;
  std::unique_ptr<kernels::Executor> executor_;
  uint32_t threads_ = 0;
};

}  // namespace stepback

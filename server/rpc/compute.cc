#include "server/rpc/compute.h"

#include <string>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/base/tbb_executor.h"
#include "server/telemetry/log.h"

namespace stepback {
namespace {

// "cuda" is device 0, "cuda:N" device N, "auto" device 0; config has checked the form.
int CudaDevice(const std::string& device) {
  const size_t colon = device.find(':');
  return colon == std::string::npos ? 0 : std::stoi(device.substr(colon + 1));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Compute>> Compute::Make(const Config::Compute& config) {
  std::unique_ptr<Compute> compute(new Compute());
  compute->threads_ = config.threads > 0 ? config.threads : std::max(1u, std::thread::hardware_concurrency());
  compute->executor_ = std::make_unique<TbbExecutor>(static_cast<int>(compute->threads_));
  RETURN_IF_ERROR(compute->OpenDevice(config));
  return compute;
}

absl::Status Compute::OpenDevice(const Config::Compute& config) {
  if (config.device == "cpu") return OpenCpu(config);
  std::string error;
  backend_ = kernels::MakeCudaBackend(CudaDevice(config.device), &error);
  if (backend_ != nullptr) return absl::OkStatus();
  if (config.device == "auto") {
    Log(LogLevel::kInfo, "device_fallback", {{"device", "cpu"}, {"reason", error}});
    return OpenCpu(config);
  }
  return Error(absl::StatusCode::kFailedPrecondition, "NO_DEVICE",
               fmt::format("device '{}': {}", config.device, error));
}

absl::Status Compute::OpenCpu(const Config::Compute& config) {
  backend_ = kernels::MakeCpuBackend(config.cpu_target, &pool_);
  if (backend_ != nullptr) return absl::OkStatus();
  return Error(absl::StatusCode::kInvalidArgument, "CPU_TARGET_UNKNOWN",
               fmt::format("cpu target '{}' is unknown or not supported by this machine, which has: {}",
                           config.cpu_target, fmt::join(kernels::CpuTargets(), ", ")));
}

void Compute::Release(std::unique_ptr<Compute> compute) {
  for (int i = 0; i < 200; ++i) {
    if (compute->pool_.stats().in_use_count == 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  Log(LogLevel::kWarn, "buffers_left", {{"count", compute->pool_.stats().in_use_count}});
  compute.release();  // NOLINT: see the header
}

}  // namespace stepback

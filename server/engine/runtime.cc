#include "server/engine/runtime.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "server/base/status_macros.h"
#include "server/base/errors.h"
#include "server/base/tbb_executor.h"
#include "server/store/disk_bandwidth.h"
#include "server/telemetry/log.h"

namespace stepback {
namespace {

constexpr size_t kBatchMax = 8;  // entries of a log that RunOne writes together
constexpr int kIoThreads =
    2;  // one disk is busy with one writer; the second keeps a huge model from delaying the others

int CoresOr(int count) { return count > 0 ? count : std::max(1u, std::thread::hardware_concurrency()); }

}  // namespace

absl::StatusOr<std::shared_ptr<Runtime>> Runtime::Make(Engine::Options options) {
  std::shared_ptr<Runtime> runtime(new Runtime(std::move(options)));
  if (runtime->has_storage()) {
    ASSIGN_OR_RETURN(runtime->claim_,
                     DataDirectory::Open(runtime->file_system(), runtime->options_.data_dir));
  }
  return runtime;
}

Runtime::Runtime(Engine::Options options) : options_(std::move(options)) {
  if (options_.file_system == nullptr) options_.file_system = FileSystem::Posix();
  if (options_.clock == nullptr) options_.clock = Clock::Real();
  if (options_.pool == nullptr) {
    own_pool_ = std::make_unique<BufferPool>(BufferPool::Options{.budget_bytes = options_.memory_bytes_max});
    options_.pool = own_pool_.get();
  }
  if (options_.metrics == nullptr) {
    own_metrics_ = std::make_unique<telemetry::Metrics>();
    options_.metrics = own_metrics_.get();
  }
  if (options_.backend == nullptr) {
    own_backend_ = kernels::MakeCpuBackend("", options_.pool);
    options_.backend = own_backend_.get();
  }
  if (options_.executor == nullptr) {
    own_executor_ = std::make_unique<TbbExecutor>(options_.compute_threads);
    options_.executor = own_executor_.get();
  }
  compute_ = std::make_unique<StrandPool>(options_.own_threads ? CoresOr(options_.strand_threads) : 0);
  io_ = std::make_unique<StrandPool>(options_.own_threads ? kIoThreads : 0);
  events_ = std::make_unique<StrandPool>(options_.own_threads ? 1 : 0);
  control_ = std::make_unique<StrandPool>(options_.own_threads ? 1 : 0);
  control_strand_ = std::make_shared<Strand>(control_.get(), SIZE_MAX);
  timers_ = std::make_unique<TimerQueue>(options_.clock, options_.ticker);
  if (has_storage()) {
    LogThread::Options log;
    log.own_thread = options_.own_threads;
    log_ = std::make_unique<LogThread>(log);
  }
  disk_bandwidth_ = options_.disk_bytes_per_second;
}

absl::StatusOr<double> Runtime::DiskBandwidth() {
  if (!has_storage())
    return Error(absl::StatusCode::kFailedPrecondition, "NO_DATA_DIR", "the server has no data directory");
  MutexLock lock(&measuring_);
  if (disk_bandwidth_ > 0) return disk_bandwidth_;
  ASSIGN_OR_RETURN(const stepback::DiskBandwidth measured,
                   MeasureDiskBandwidth(options_.file_system, options_.data_dir, options_.clock));
  disk_bandwidth_ = measured.bytes_per_second;
  Log(LogLevel::kInfo, "disk_measured",
      {{"path", options_.data_dir},
       {"bytes_per_second", measured.bytes_per_second},
       {"bytes", measured.bytes},
       {"direct_io", measured.direct_io}});
  return disk_bandwidth_;
}

void Runtime::Defer(Task task) {
  if (!control_strand_->Post(std::move(task))) task();
}

bool Runtime::RunOne(const std::function<size_t(size_t)>& pick) {
  StrandPool* const pools[] = {compute_.get(), io_.get(), events_.get(), control_.get()};
  const size_t logs = log_ == nullptr ? 0 : log_->ready_count();
  size_t count = logs;
  for (const StrandPool* pool : pools) count += pool->ready_count();
  if (count == 0) return false;
  size_t index = pick(count);
  for (StrandPool* pool : pools) {
    const size_t ready = pool->ready_count();
    if (index < ready) {
      pool->RunOne(index);
      return true;
    }
    index -= ready;
  }
  log_->RunOne(index, 1 + pick(kBatchMax));
  return true;
}

void Runtime::Stop() {
  timers_->Stop();
  io_->Stop();
  if (log_ != nullptr) log_->Stop();
  compute_->Stop();
  events_->Stop();  // what the strands reported is written
  control_->Stop();
  claim_.reset();
}

}  // namespace stepback

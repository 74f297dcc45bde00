#include "server/base/tbb_executor.h"

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>

#include <algorithm>
#include <optional>
#include <thread>

namespace stepback {
namespace {

int CoreCount() { return std::max(1u, std::thread::hardware_concurrency()); }

}  // namespace

struct TbbExecutor::Arena {
  explicit Arena(int width) : arena(width) {
    // TBB starts one worker per core at most; a wider arena needs the limit raised while it lives.
    if (width > CoreCount()) limit.emplace(tbb::global_control::max_allowed_parallelism, width);
  }

  std::optional<tbb::global_control> limit;
  tbb::task_arena arena;
};

TbbExecutor::TbbExecutor(int thread_count)
    : thread_count_(thread_count > 0 ? thread_count : CoreCount()),
      arena_(std::make_unique<Arena>(thread_count_)) {}

TbbExecutor::~TbbExecutor() = default;

void TbbExecutor::Run(size_t count, const std::function<void(size_t)>& task) {
  if (count <= 1 || thread_count_ == 1) {
    for (size_t i = 0; i < count; ++i) task(i);
    return;
  }
  arena_->arena.execute([&] {
    // Tasks are cache-block sized already: one task per index, no chunking on top.
    tbb::parallel_for(
        tbb::blocked_range<size_t>(0, count, 1),
        [&](const tbb::blocked_range<size_t>& range) {
          for (size_t i = range.begin(); i != range.end(); ++i) task(i);
        },
        tbb::simple_partitioner());
  });
}

}  // namespace stepback

#include "client/cli/load/load_runner.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "client/cli/interrupted.h"
#include "server/base/status_macros.h"

namespace stepback::cli {
namespace {

using Clock = std::chrono::steady_clock;

std::string TemporaryName() {
  std::random_device random;
  return fmt::format("load-{}-{:08x}", getpid(), random());
}

client::ModelDefinition DefinitionOf(const LoadOptions& options) {
  client::ModelDefinition definition{.name = TemporaryName(), .mode = options.mode};
  for (uint64_t t = 0; t < options.tensors; ++t) {
    const uint64_t elements =
        options.parameters / options.tensors + (t < options.parameters % options.tensors ? 1 : 0);
    definition.tensors.push_back({fmt::format("t{:05}", t), {elements}});
  }
  definition.rounds.policy = options.policy;
  // Load workers do not train: how old their base is must not matter.
  definition.rounds.max_staleness = UINT32_MAX;
  definition.durability = options.durability;
  definition.description = "temporary model of `stepback load`";
  return definition;
}

// The bytes that all workers send: small, finite, not all equal.
void FillGradient(client::TensorBuffers* buffers) {
  for (size_t t = 0; t < buffers->size(); ++t) {
    std::span<float> values = buffers->floats(t);
    for (size_t i = 0; i < values.size(); ++i) values[i] = 1e-6f * static_cast<float>((i * 7 + t) % 1000);
  }
}

// Hands out the times at which requests begin.
class Schedule {
 public:
  Schedule(const LoadOptions& options, Clock::time_point begin)
      : rate_(options.rate),
        begin_(begin),
        counted_from_(begin + Seconds(options.warmup_seconds)),
        end_(counted_from_ + Seconds(options.duration_seconds)) {}

  // When the next request begins (now, in a closed loop); waits until then. False: the run is over.
  bool Next(Clock::time_point* begin) {
    *begin = Clock::now();
    if (rate_ > 0) {
      *begin = begin_ + Seconds(static_cast<double>(next_.fetch_add(1)) / rate_);
      while (!Interrupted() && Clock::now() < *begin) {
        std::this_thread::sleep_until(std::min(*begin, Clock::now() + std::chrono::milliseconds(50)));
      }
    }
    return !Interrupted() && *begin < end_;
  }
  bool Counts(Clock::time_point begin) const { return begin >= counted_from_; }
  Clock::time_point counted_from() const { return counted_from_; }

 private:
  static Clock::duration Seconds(double seconds) {
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  }

  const double rate_;
  const Clock::time_point begin_;
  const Clock::time_point counted_from_;
  const Clock::time_point end_;
  std::atomic<uint64_t> next_ = 0;
};

std::string CodeOf(const absl::Status& status) {
  const std::string reason = client::ErrorReason(status);
  return reason.empty() ? absl::StatusCodeToString(status.code()) : reason;
}

// One thread of the run.
class LoadWorker {
 public:
  LoadWorker(const LoadOptions& options, std::unique_ptr<client::Worker> worker, client::TensorBuffers sinks)
      : options_(options), worker_(std::move(worker)), sinks_(std::move(sinks)) {}

  absl::Status Prepare() { return worker_->Pull(sinks_.sinks()).status(); }

  void Run(std::span<const client::TensorData> data, Schedule* schedule) {
    client::Statistics before = worker_->statistics();
    bool counting = false;
    for (Clock::time_point begin; schedule->Next(&begin);) {
      if (!counting && schedule->Counts(begin)) {
        counting = true;
        before = worker_->statistics();
      }
      const absl::Status status = Request(data);
      const Clock::time_point end = Clock::now();
      if (absl::IsCancelled(status) && Interrupted()) break;
      if (counting) {
        Record(status, std::chrono::duration<double>(end - begin).count());
        last_end_ = end;
      } else {
        ++result_.warmup_requests;
      }
    }
    const client::Statistics after = worker_->statistics();
    result_.payload_bytes_sent = after.payload_bytes_sent - before.payload_bytes_sent;
    result_.payload_bytes_received = after.payload_bytes_received - before.payload_bytes_received;
    result_.resyncs = after.resyncs - before.resyncs;
    // Leaving lets the others' rounds close without this worker.
    worker_->Close().IgnoreError();
  }

  const LoadResult& result() const { return result_; }
  Clock::time_point last_end() const { return last_end_; }

 private:
  absl::Status Request(std::span<const client::TensorData> data) {
    const bool gradient = options_.mode == client::Mode::kGradient;
    switch (options_.operation) {
      case Operation::kPull:
        return worker_->Pull(sinks_.sinks()).status();
      case Operation::kPush:
        return (gradient ? worker_->PushGradient(data) : worker_->PushWeights(data)).status();
      case Operation::kStep:
        return (gradient ? worker_->StepGradient(data, sinks_.sinks()) : worker_->Step(data, sinks_.sinks()))
            .status();
    }
    return absl::OkStatus();
  }

  void Record(const absl::Status& status, double seconds) {
    ++result_.requests;
    if (status.ok()) {
      result_.latency.Add(seconds);
    } else {
      ++result_.errors;
      ++result_.errors_by_code[CodeOf(status)];
    }
  }

  const LoadOptions& options_;
  std::unique_ptr<client::Worker> worker_;
  client::TensorBuffers sinks_;
  LoadResult result_;
  Clock::time_point last_end_{};
};

// Differences have a full form of their own.
std::string PullCodec(const LoadOptions& options) {
  if (!options.pull_codec.empty() || !options.difference.empty()) return options.pull_codec;
  return options.codec;
}

absl::StatusOr<std::vector<std::unique_ptr<LoadWorker>>> JoinAll(const client::Model& model,
                                                                 const LoadOptions& options) {
  std::vector<std::unique_ptr<LoadWorker>> workers;
  const client::JoinOptions join{.push_codec = options.codec,
                                 .pull_codec = PullCodec(options),
                                 .difference = options.difference,
                                 .error_feedback = options.error_feedback};
  for (uint32_t i = 0; i < options.concurrency; ++i) {
    ASSIGN_OR_RETURN(client::TensorBuffers sinks, client::TensorBuffers::Make(model.tensors()));
    ASSIGN_OR_RETURN(auto worker, model.Join(fmt::format("load-{}", i), join));
    workers.push_back(std::make_unique<LoadWorker>(options, std::move(worker), std::move(sinks)));
    RETURN_IF_ERROR(workers.back()->Prepare());
  }
  return workers;
}

absl::StatusOr<LoadResult> RunOn(const client::Model& model, const LoadOptions& options) {
  ASSIGN_OR_RETURN(client::TensorBuffers gradient, client::TensorBuffers::Make(model.tensors()));
  FillGradient(&gradient);
  ASSIGN_OR_RETURN(const auto workers, JoinAll(model, options));
  LoadResult result{.started_at = std::chrono::system_clock::now()};
  Schedule schedule(options, Clock::now());
  std::vector<std::thread> threads;
  for (const auto& worker : workers) {
    threads.emplace_back([&, worker = worker.get()] { worker->Run(gradient.data(), &schedule); });
  }
  for (std::thread& thread : threads) thread.join();
  Clock::time_point end = schedule.counted_from();
  for (const auto& worker : workers) {
    const LoadResult& part = worker->result();
    result.latency.Merge(part.latency);
    result.requests += part.requests;
    result.errors += part.errors;
    result.warmup_requests += part.warmup_requests;
    result.resyncs += part.resyncs;
    result.payload_bytes_sent += part.payload_bytes_sent;
    result.payload_bytes_received += part.payload_bytes_received;
    for (const auto& [code, count] : part.errors_by_code) result.errors_by_code[code] += count;
    end = std::max(end, worker->last_end());
  }
  result.seconds = std::chrono::duration<double>(end - schedule.counted_from()).count();
  result.interrupted = Interrupted();
  return result;
}

}  // namespace

absl::StatusOr<LoadResult> RunLoad(client::Server* server, const LoadOptions& options) {
  ASSIGN_OR_RETURN(const client::Model model, server->CreateModel(DefinitionOf(options), {}));
  absl::StatusOr<LoadResult> result = RunOn(model, options);
  const absl::Status deleted = server->DeleteModel(model.name());
  if (result.ok() && !deleted.ok() && !Interrupted()) return deleted;
  return result;
}

}  // namespace stepback::cli

#include "client/cli/load/worker_loop.h"

#include <algorithm>
#include <thread>

#include "fmt/core.h"
#include "server/base/status_macros.h"

namespace stepback::cli::load {
namespace {

// Small and different in every tensor, so that repeated pushes stay finite however long the load runs.
void FillGradient(client::TensorBuffers& buffers) {
  for (size_t t = 0; t < buffers.size(); ++t) {
    for (float& x : buffers.floats(t)) x = 1e-6f * static_cast<float>(t + 1);
  }
}

}  // namespace

const char* NameOf(Action action) {
  static constexpr const char* kNames[] = {"push", "pull", "step"};
  return kNames[static_cast<int>(action)];
}

WorkerLoop::WorkerLoop(const Options& options, std::shared_ptr<client::Server> server, client::Model model,
                       std::unique_ptr<client::Worker> worker)
    : options_(options),
      server_(std::move(server)),
      model_(std::move(model)),
      worker_(std::move(worker)),
      weights_(model_.tensors()),
      received_(model_.tensors()) {
  if (options_.mode == "gradient") FillGradient(weights_);
}

absl::StatusOr<std::unique_ptr<WorkerLoop>> WorkerLoop::Start(const client::ConnectOptions& connect,
                                                              const std::string& name, int number,
                                                              const Options& options) {
  ASSIGN_OR_RETURN(auto server, client::Server::Connect(connect));
  ASSIGN_OR_RETURN(client::Model model, server->OpenModel(name));
  client::JoinOptions join{.push_codec = options.codec, .pull_codec = options.codec};
  if (options.action == Action::kPull) join.role = client::SessionRole::kReader;
  ASSIGN_OR_RETURN(auto worker, model.Join(fmt::format("load-{}", number), join));
  std::unique_ptr<WorkerLoop> loop(
      new WorkerLoop(options, std::move(server), std::move(model), std::move(worker)));
  RETURN_IF_ERROR(loop->worker_->Pull(loop->received_.sinks()).status());
  return loop;
}

absl::Status WorkerLoop::Request() {
  const bool gradient = options_.mode == "gradient";
  switch (options_.action) {
    case Action::kPull:
      return worker_->Pull(received_.sinks()).status();
    case Action::kPush:
      return (gradient ? worker_->PushGradient(weights_.data()) : worker_->PushWeights(weights_.data()))
          .status();
    case Action::kStep:
      return (gradient ? worker_->StepGradient(weights_.data(), received_.sinks())
                       : worker_->Step(weights_.data(), received_.sinks()))
          .status();
  }
  return absl::InternalError("unknown action");
}

SteadyTime WorkerLoop::NextDue(SteadyTime previous) const {
  if (options_.rate <= 0) return std::chrono::steady_clock::now();
  const std::chrono::duration<double> gap(options_.concurrency / options_.rate);
  return previous + std::chrono::duration_cast<std::chrono::steady_clock::duration>(gap);
}

Measurement WorkerLoop::Run(SteadyTime begin, SteadyTime end) {
  Measurement m;
  client::Statistics before = worker_->statistics();
  bool measuring = false;
  for (SteadyTime due = std::chrono::steady_clock::now(); due < end; due = NextDue(due)) {
    std::this_thread::sleep_until(due);  // returns at once in a closed loop
    if (!measuring && due >= begin) {
      measuring = true;
      before = worker_->statistics();
    }
    const absl::Status status = Request();
    if (!measuring) continue;
    const std::chrono::duration<float> latency = std::chrono::steady_clock::now() - due;
    ++m.requests;
    if (m.latencies_seconds.size() < kLatenciesMax) m.latencies_seconds.push_back(latency.count());
    if (status.ok()) continue;
    if (++m.errors == 1) m.first_error = std::string(status.message());
    if (m.errors >= 100) break;  // a broken server needs no further proof
  }
  const client::Statistics after = worker_->statistics();
  m.bytes_sent = after.payload_bytes_sent - before.payload_bytes_sent;
  m.bytes_received = after.payload_bytes_received - before.payload_bytes_received;
  (void)worker_->Close();  // the round must not wait for a worker that has finished
  return m;
}

}  // namespace stepback::cli::load

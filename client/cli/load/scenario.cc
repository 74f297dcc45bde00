#include "client/cli/load/scenario.h"

#include <unistd.h>

#include <algorithm>
#include <thread>

#include "fmt/core.h"
#include "server/base/status_macros.h"

namespace stepback::cli::load {
namespace {

client::ModelDefinition Definition(const Options& options) {
  client::ModelDefinition d{.name = fmt::format("load-{}-{}", getpid(), NameOf(options.action))};
  const uint64_t tensors = std::min<uint64_t>(options.tensors, options.parameters);
  for (uint64_t t = 0; t < tensors; ++t) {
    const uint64_t size = options.parameters * (t + 1) / tensors - options.parameters * t / tensors;
    d.tensors.push_back({.name = fmt::format("tensor-{}", t), .shape = {size}});
  }
  const bool gradient = options.mode == "gradient";
  d.mode = gradient ? client::Mode::kGradient : client::Mode::kDelta;
  // A push that waits for others would measure them; steps measure whole rounds of all workers.
  d.rounds.policy =
      options.action == Action::kStep && !gradient ? client::RoundPolicy::kSync : client::RoundPolicy::kAsync;
  if (d.rounds.policy == client::RoundPolicy::kAsync) d.rounds.max_staleness = 1u << 30;
  d.durability = client::Durability::kVolatile;
  d.description = "temporary: stepback load";
  return d;
}

// Deletes the temporary model whatever happens.
class TemporaryModel {
 public:
  TemporaryModel(client::Server& server, std::string name) : server_(server), name_(std::move(name)) {}
  ~TemporaryModel() { (void)server_.DeleteModel(name_); }

 private:
  client::Server& server_;
  std::string name_;
};

void Add(Measurement& total, Measurement&& m) {
  total.requests += m.requests;
  total.errors += m.errors;
  if (total.first_error.empty()) total.first_error = std::move(m.first_error);
  total.bytes_sent += m.bytes_sent;
  total.bytes_received += m.bytes_received;
  total.latencies_seconds.insert(total.latencies_seconds.end(), m.latencies_seconds.begin(),
                                 m.latencies_seconds.end());
}

SteadyTime After(SteadyTime start, double seconds) {
  return start + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                     std::chrono::duration<double>(seconds));
}

}  // namespace

absl::StatusOr<Result> RunScenario(const client::ConnectOptions& connect, const Options& options) {
  ASSIGN_OR_RETURN(auto server, client::Server::Connect(connect));
  ASSIGN_OR_RETURN(const client::ServerInfo info, server->Info());
  const client::ModelDefinition definition = Definition(options);
  RETURN_IF_ERROR(server->CreateModel(definition, {}).status());
  const TemporaryModel model(*server, definition.name);

  std::vector<std::unique_ptr<WorkerLoop>> workers;
  for (int i = 0; i < options.concurrency; ++i) {
    ASSIGN_OR_RETURN(auto worker, WorkerLoop::Start(connect, definition.name, i, options));
    workers.push_back(std::move(worker));
  }
  const SteadyTime begin = After(std::chrono::steady_clock::now(), options.warmup_seconds);
  const SteadyTime end = After(begin, options.duration_seconds);
  std::vector<Measurement> measurements(workers.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < workers.size(); ++i) {
    threads.emplace_back([&, i] { measurements[i] = workers[i]->Run(begin, end); });
  }
  for (std::thread& thread : threads) thread.join();

  Result result{.options = options};
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  for (Measurement& m : measurements) Add(result.total, std::move(m));
  std::sort(result.total.latencies_seconds.begin(), result.total.latencies_seconds.end());
  result.server_version = info.version;
  result.server_device = info.devices.empty() ? "" : info.devices[0];
  return result;
}

}  // namespace stepback::cli::load

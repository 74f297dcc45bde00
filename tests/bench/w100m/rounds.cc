#include "tests/bench/w100m/rounds.h"

#include <fmt/format.h>

#include <algorithm>

#include "tests/bench/w100m/child.h"
#include "tests/bench/w100m/process_stats.h"
#include "tests/bench/w100m/server_process.h"
#include "tests/bench/w100m/workload.h"

namespace stepback::bench {
namespace {

constexpr char kModel[] = "w100m";

// This program again, in another role.
std::vector<std::string> Role(const Options& options, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"/proc/self/exe", "--parameters", std::to_string(options.parameters)});
  return arguments;
}

class Fleet {
 public:
  Fleet(const Options& options, uint32_t workers, const std::string& address,
        const std::string& socket_port) {
    for (uint32_t index = 0; index < workers; ++index) {
      children_.emplace_back(Role(options, {"--role", "worker", "--address", address, "--model", kModel,
                                            "--index", std::to_string(index), "--socket-port", socket_port}));
    }
    for (Child& child : children_) child.Receive();  // "ready"
  }

  // One half of a round: all workers at once; the barrier is that every answer is awaited.
  std::vector<double> Do(const std::string& command) {
    for (Child& child : children_) child.Send(command);
    std::vector<double> seconds;
    for (Child& child : children_) seconds.push_back(std::stod(child.Receive()));
    return seconds;
  }
  void Round(const std::string& prefix, Timings* timings) {
    const std::vector<double> push = Do(prefix + "push"), pull = Do(prefix + "pull");
    if (timings == nullptr) return;
    for (size_t i = 0; i < push.size(); ++i) {
      timings->push.push_back(push[i]);
      timings->pull.push_back(pull[i]);
      timings->total.push_back(push[i] + pull[i]);
    }
  }
  uint64_t LargestPeakRss() const {
    uint64_t largest = 0;
    for (const Child& child : children_) largest = std::max(largest, PeakRssBytes(child.pid()));
    return largest;
  }

 private:
  std::vector<Child> children_;
};

template <typename T>
T OrDie(absl::StatusOr<T> result) {
  if (!result.ok()) Die(std::string(result.status().message()));
  return *std::move(result);
}

void Verify(const client::Model& model, uint32_t workers, uint64_t pushes) {
  client::TensorBuffers weights = OrDie(client::TensorBuffers::Make(model.tensors()));
  OrDie(model.Pull(weights.sinks(), {.view = "train"}));
  if (const std::string wrong = VerifyWeights(weights, workers, pushes); !wrong.empty())
    Die("wrong weights: " + wrong);
}

}  // namespace

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double Result::ratio() const { return Median(service.total) / Median(sockets.total); }

Result RunConfiguration(const Options& options, uint32_t workers) {
  ServerProcess server(options.server);
  Child sockets(Role(options, {"--role", "sockets"}));
  const std::string socket_port = sockets.Receive();
  const auto control = OrDie(client::Server::Connect({.address = server.address()}));
  const client::Model model = OrDie(control->CreateModel(DefinitionOf(kModel, options.parameters), {}));
  Fleet fleet(options, workers, server.address(), socket_port);

  Result result{.workers = workers};
  for (int round = 0; round < options.warmup_rounds; ++round) {
    fleet.Round("", nullptr);
    fleet.Round("socket-", nullptr);
  }
  double cpu_seconds = 0;
  for (int round = 0; round < options.rounds; ++round) {
    const double before = CpuSeconds(server.pid());
    fleet.Round("", &result.service);
    cpu_seconds += CpuSeconds(server.pid()) - before;
    fleet.Round("socket-", &result.sockets);
  }
  result.server_cpu_seconds = cpu_seconds / options.rounds;
  result.server_peak_rss_bytes = PeakRssBytes(server.pid());
  result.worker_peak_rss_bytes = fleet.LargestPeakRss();
  result.bytes_per_direction = static_cast<double>(options.parameters) * sizeof(float) * workers;
  Verify(model, workers, static_cast<uint64_t>(options.warmup_rounds + options.rounds));
  fleet.Do("close");
  return result;
}

}  // namespace stepback::bench

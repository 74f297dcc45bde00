// stepback top: models and workers, live.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <thread>

#include "client/cli/commands.h"
#include "client/cli/interrupted.h"
#include "client/cli/json.h"
#include "client/cli/session_table.h"
#include "client/cli/units.h"
#include "server/base/status_macros.h"

namespace stepback::cli {
namespace {

using Clock = std::chrono::steady_clock;

// One look at the server.
struct Sample {
  Clock::time_point at;
  client::ServerInfo server;
  std::vector<client::ModelInfo> models;
  std::vector<client::SessionInfo> sessions;
};

absl::StatusOr<Sample> Take(client::Server* server) {
  Sample sample;
  ASSIGN_OR_RETURN(sample.server, server->Info());
  ASSIGN_OR_RETURN(sample.models, server->ListModels());
  ASSIGN_OR_RETURN(sample.sessions, server->ListSessions());
  sample.at = Clock::now();
  return sample;
}

// Growth per second of a counter since the sample before; "-" without one.
class Rates {
 public:
  Rates(const Sample* before, const Sample& now) : before_(before), now_(now) {
    if (before == nullptr) return;
    for (const client::ModelInfo& model : before->models) models_[model.definition.name] = &model;
  }
  template <typename Counter>
  std::string Of(const client::ModelInfo& model, Counter counter) const {
    const auto found = models_.find(model.definition.name);
    if (found == models_.end() || counter(model) < counter(*found->second)) return "-";
    const double seconds = std::chrono::duration<double>(now_.at - before_->at).count();
    return fmt::format("{:.1f}", static_cast<double>(counter(model) - counter(*found->second)) / seconds);
  }

 private:
  const Sample* before_;
  const Sample& now_;
  std::map<std::string, const client::ModelInfo*> models_;
};

Table ModelTable(const Sample* before, const Sample& now) {
  const Rates rates(before, now);
  Table table({"MODEL", "MODE", "VERSION", "DURABLE", "STEPS/S", "SAMPLES/S", "SAMPLES", "SESSIONS", "MEMORY",
               "STATE"});
  table.SetEmpty("no models");
  for (const client::ModelInfo& model : now.models) {
    const std::string state = !model.unhealthy_reason.empty() ? "unhealthy"
                              : model.finished                ? "finished"
                                                              : "ok";
    table.Add({model.definition.name, NameOf(model.definition.mode), model.version.ToString(),
               model.durable_version ? model.durable_version.ToString() : "-",
               rates.Of(model, [](const auto& m) { return m.version.counter; }),
               rates.Of(model, [](const auto& m) { return m.samples; }), ShowCount(model.samples),
               std::to_string(model.sessions), ShowBytes(model.state_bytes), state});
  }
  return table;
}

void Show(const Sample* before, const Sample& now, const Context& context) {
  if (context.json()) {
    std::cout << Json({{"server", ToJson(now.server)},
                       {"models", ToJsonArray(now.models)},
                       {"sessions", ToJsonArray(now.sessions)}})
                     .dump()
              << "\n"
              << std::flush;
    return;
  }
  std::ostringstream out;
  out << fmt::format("stepbackd {} at {}, up {}{}\n\n", now.server.version, context.address(),
                     ShowSeconds(now.server.uptime_seconds), now.server.draining ? ", draining" : "");
  ModelTable(before, now).Print(out);
  out << "\n";
  SessionTable(now.sessions).Print(out);
  // On a terminal every look replaces the one before.
  const char* clear = before != nullptr && isatty(STDOUT_FILENO) != 0 ? "\x1b[H\x1b[2J" : "";
  std::cout << clear << out.str() << std::flush;
}

absl::Status Top(double interval_seconds, uint64_t looks, const Context& context) {
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  std::unique_ptr<Sample> before;
  while (!Interrupted()) {
    absl::StatusOr<Sample> sample = Take(server.get());
    if (absl::IsCancelled(sample.status()) && Interrupted()) break;
    RETURN_IF_ERROR(sample.status());
    Show(before.get(), *sample, context);
    if (--looks == 0) break;  // 0 at first: wraps, never ends
    before = std::make_unique<Sample>(*std::move(sample));
    const auto next = Clock::now() + std::chrono::duration<double>(interval_seconds);
    while (!Interrupted() && Clock::now() < next) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return absl::OkStatus();
}

}  // namespace

void AddTopCommand(CLI::App* app, Context* context) {
  struct Args {
    double interval_seconds = 2;
    bool once = false;
    uint64_t count = 0;
  };
  const auto args = std::make_shared<Args>();
  CLI::App* top = AddCommand(app, context, "top", "Models and workers, live", [=] {
    return Top(args->interval_seconds, args->once ? 1 : args->count, *context);
  });
  top->add_option("--interval", args->interval_seconds, "Seconds between two looks")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  top->add_flag("--once", args->once, "Show once and end");
  top->add_option("--count", args->count, "End after this many looks; 0: never");
}

}  // namespace stepback::cli

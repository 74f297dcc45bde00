// top: models and sessions, refreshed; --once prints one picture.
#include <unistd.h>

#include <chrono>
#include <map>
#include <thread>

#include "client/cli/commands.h"
#include "client/cli/json.h"
#include "client/cli/table.h"
#include "fmt/core.h"
#include "server/base/status_macros.h"

namespace stepback::cli {
namespace {

using Models = std::vector<client::ModelInfo>;
using Sessions = std::vector<client::SessionInfo>;

struct Arguments {
  double interval = 2;
  bool once = false;
  uint64_t count = 0;
};

// Commits per second of each model since the picture before.
class Rates {
 public:
  double Of(const client::ModelInfo& model, double seconds) {
    uint64_t& last = counters_[model.definition.name];
    const uint64_t now = model.version.counter;
    const double rate = seconds > 0 && now >= last ? static_cast<double>(now - last) / seconds : 0;
    last = now;
    return rate;
  }

 private:
  std::map<std::string, uint64_t> counters_;
};

void Draw(const Models& models, const Sessions& sessions, Rates& rates, double seconds) {
  Table table({"MODEL", "MODE", "VERSION", "COMMITS/S", "DURABLE", "SESSIONS", "STATE", "HEALTH"});
  for (const client::ModelInfo& m : models) {
    table.Add({m.definition.name, NameOf(m.definition.mode), m.version.ToString(),
               fmt::format("{:.1f}", rates.Of(m, seconds)),
               m.durable_version ? m.durable_version.ToString() : "-", std::to_string(m.sessions),
               HumanBytes(m.state_bytes), m.unhealthy_reason.empty() ? "ok" : m.unhealthy_reason});
  }
  table.Print();
  fmt::print("\n");
  Table workers({"MODEL", "WORKER", "PUSHES", "IN ROUND", "STALENESS", "LOSS", "WAIT", "LEASE"});
  const auto number = [](const std::optional<double>& x) {
    return x ? fmt::format("{:.4g}", *x) : std::string("-");
  };
  for (const client::SessionInfo& s : sessions) {
    workers.Add({s.model, s.client_id, std::to_string(s.pushes), s.contributed ? "yes" : "waits",
                 std::to_string(s.staleness), number(s.health.train_loss), number(s.health.wait_seconds),
                 HumanSeconds(s.lease_remaining_seconds)});
  }
  workers.Print();
}

absl::Status Top(const Context& context, const Arguments& a) {
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  Rates rates;
  for (uint64_t picture = 0;; ++picture) {
    ASSIGN_OR_RETURN(const Models models, server->ListModels());
    ASSIGN_OR_RETURN(const Sessions sessions, server->ListSessions());
    if (context.json()) {
      PrintJson({{"models", ToJsonList(models)}, {"sessions", ToJsonList(sessions)}});
    } else {
      if (!a.once && isatty(STDOUT_FILENO) != 0) fmt::print("\033[H\033[2J");
      Draw(models, sessions, rates, picture == 0 ? 0 : a.interval);
    }
    std::fflush(stdout);
    if (a.once || picture + 1 == a.count) return absl::OkStatus();
    std::this_thread::sleep_for(std::chrono::duration<double>(a.interval));
  }
}

}  // namespace

void RegisterTop(CLI::App& app, Context& context) {
  const auto a = std::make_shared<Arguments>();
  CLI::App* top = AddCommand(app, context, "top", "Live view of models and workers",
                             [&context, a] { return Top(context, *a); });
  top->add_option("--interval", a->interval, "Seconds between pictures")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  top->add_option("--count", a->count, "End after this many pictures (0: never)");
  top->add_flag("--once", a->once, "One picture");
}

}  // namespace stepback::cli

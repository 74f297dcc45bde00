#include "server/rpc/status_json.h"

#include <future>
#include <memory>
#include <nlohmann/json.hpp>

#include "server/base/clock.h"
#include "server/rpc/session_list.h"
#include "server/telemetry/build_info.h"

namespace stepback {
namespace {

using nlohmann::json;

double SecondsSinceWall(int64_t wall_nanos) {
  return static_cast<double>(Clock::Real()->WallNanos() - wall_nanos) * 1e-9;
}

json ModelJson(const Handle& model) {
  const ModelInfo info = model.Info();
  const ModelVersion& version = *info.version;
  const ModelSpec& spec = *version.spec;
  json out = {{"name", spec.name},
              {"mode", spec.mode == Mode::kGradient ? "gradient" : "delta"},
              {"inner", spec.inner.name.empty() ? "none" : spec.inner.name},
              {"outer", spec.outer.name},
              {"version", version.version.ToString()},
              {"parameters", version.layout->elements()},
              {"steps", spec.sync_period},
              {"sessions", info.sessions},
              {"waiting_for", model.WaitingFor()},
              {"state_bytes", info.state_bytes},
              {"healthy", info.unhealthy_reason.empty()},
              {"reason", info.unhealthy_reason}};
  const auto alpha = spec.outer.values.find("alpha");
  if (alpha != spec.outer.values.end()) out["alpha"] = alpha->second;
  if (info.last_snapshot_wall_nanos != 0) {
    out["seconds_since_snapshot"] = SecondsSinceWall(info.last_snapshot_wall_nanos);
  }
  return out;
}

json SessionJson(const std::string& model, const SessionInfo& session) {
  json out = {{"model", model},
              {"client_id", session.client_id},
              {"state", session.quarantine_remaining_seconds > 0 ? "quarantined"
                        : session.lease_remaining_seconds > 0    ? "active"
                                                                 : "ended"},
              {"staleness", session.staleness},
              {"pushes", session.pushes},
              {"lease_remaining_seconds", session.lease_remaining_seconds}};
  if (session.health.train_loss) out["train_loss"] = *session.health.train_loss;
  return out;
}

json SessionsJson(const std::vector<std::shared_ptr<Handle>>& models) {
  const auto promise = std::make_shared<std::promise<json>>();
  std::future<json> sessions = promise->get_future();
  ListSessionsOf(models, [promise](const std::vector<ModelSessions>& all) {
    json list = json::array();
    for (const ModelSessions& part : all) {
      for (const SessionInfo& session : part.sessions)
        list.push_back(SessionJson(part.model->name(), session));
    }
    promise->set_value(std::move(list));
  });
  const bool there = sessions.wait_for(std::chrono::seconds(2)) == std::future_status::ready;
  return there ? sessions.get() : json::array();
}

}  // namespace

std::string StatusJson(const ServiceContext& context, const ServerStatus& status) {
  const BuildInfo& build = CurrentBuild();
  const std::vector<std::shared_ptr<Handle>> models = context.engine->List();
  json out = {
      {"version", build.version},
      {"revision", build.revision},
      {"uptime_seconds", std::chrono::duration<double>(Clock::Real()->Now() - context.started).count()},
      {"ready", status.ready},
      {"draining", context.engine->draining()},
      {"grpc_address", status.grpc_address},
      {"devices", json::array({std::string(context.engine->backend()->name())})},
      {"models", json::array()},
      {"sessions", SessionsJson(models)}};
  for (const std::shared_ptr<Handle>& model : models) out["models"].push_back(ModelJson(*model));
  return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace stepback

// session list | evict.
#include "client/cli/commands.h"
#include "client/cli/json.h"
#include "client/cli/table.h"
#include "fmt/core.h"
#include "server/base/status_macros.h"

namespace stepback::cli {
namespace {

absl::Status List(const Context& context, const std::string& model) {
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  ASSIGN_OR_RETURN(const auto sessions, server->ListSessions(model));
  if (context.json()) {
    PrintJson(ToJsonList(sessions));
    return absl::OkStatus();
  }
  Table table(
      {"MODEL", "CLIENT", "ROLE", "EPOCH", "SEQUENCE", "DURABLE", "LEASE", "IN ROUND", "STALENESS", "LOSS"});
  for (const client::SessionInfo& s : sessions) {
    table.Add({s.model, s.client_id, NameOf(s.role), std::to_string(s.epoch), std::to_string(s.last_sequence),
               std::to_string(s.durable_sequence), HumanSeconds(s.lease_remaining_seconds),
               s.contributed ? "yes" : "no", std::to_string(s.staleness),
               s.health.train_loss ? fmt::format("{:.4g}", *s.health.train_loss) : "-"});
  }
  table.Print();
  return absl::OkStatus();
}

absl::Status Evict(const Context& context, const std::string& model, const std::string& client) {
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  RETURN_IF_ERROR(server->EvictSession(model, client));
  if (context.json()) PrintJson({{"model", model}, {"evicted", client}});
  return absl::OkStatus();
}

}  // namespace

void RegisterSessionCommands(CLI::App& app, Context& context) {
  CLI::App& sessions = *AddGroup(app, "session", "List and end workers' sessions");
  const auto model = std::make_shared<std::string>(), client = std::make_shared<std::string>();
  AddCommand(sessions, context, "list", "List the sessions", [&context, model] {
    return List(context, *model);
  })->add_option("model", *model, "Model (all without)");
  CLI::App* evict = AddCommand(sessions, context, "evict", "End a session; its round no longer waits for it",
                               [&context, model, client] { return Evict(context, *model, *client); });
  evict->add_option("model", *model, "Model")->required();
  evict->add_option("client", *client, "Client id")->required();
}

}  // namespace stepback::cli

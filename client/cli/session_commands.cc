// stepback session list|evict.
#include <fmt/format.h>

#include <memory>

#include "client/cli/commands.h"
#include "client/cli/json.h"
#include "client/cli/session_table.h"
#include "server/base/status_macros.h"

namespace stepback::cli {
namespace {

absl::Status List(const std::string& model, const Context& context) {
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  ASSIGN_OR_RETURN(const auto sessions, server->ListSessions(model));
  context.Print({{"sessions", ToJsonArray(sessions)}}, SessionTable(sessions));
  return absl::OkStatus();
}

absl::Status Evict(const std::string& model, const std::string& client_id, const Context& context) {
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  RETURN_IF_ERROR(server->EvictSession(model, client_id));
  context.Say({{"model", model}, {"evicted", client_id}},
              fmt::format("worker '{}' evicted from model '{}'", client_id, model));
  return absl::OkStatus();
}

}  // namespace

void AddSessionCommands(CLI::App* app, Context* context) {
  CLI::App* session = app->add_subcommand("session", "Look at workers and evict them")->require_subcommand(1);
  session->fallthrough();
  struct Args {
    std::string model, client_id;
  };
  const auto args = std::make_shared<Args>();
  CLI::App* list =
      AddCommand(session, context, "list", "List sessions", [=] { return List(args->model, *context); });
  list->add_option("model", args->model, "Of this model only");
  CLI::App* evict = AddCommand(session, context, "evict", "End a session; its worker must join again",
                               [=] { return Evict(args->model, args->client_id, *context); });
  evict->add_option("model", args->model, "Name of the model")->required();
  evict->add_option("client", args->client_id, "Client id of the worker")->required();
}

}  // namespace stepback::cli

#include "client/cli/session_table.h"

#include <string>

#include "client/cli/units.h"

namespace stepback::cli {
namespace {

std::string LeaseOf(const client::SessionInfo& session) {
  if (session.quarantine_remaining_seconds > 0)
    return "quarantine " + ShowSeconds(session.quarantine_remaining_seconds);
  return session.lease_remaining_seconds > 0 ? ShowSeconds(session.lease_remaining_seconds) : "ended";
}

std::string Optional(const std::optional<double>& value) { return value ? ShowNumber(*value) : "-"; }

}  // namespace

Table SessionTable(const std::vector<client::SessionInfo>& sessions) {
  Table table({"MODEL", "CLIENT", "ROLE", "EPOCH", "LAST", "DURABLE", "LEASE", "IN ROUND", "STALENESS",
               "LOSS", "TOKENS/S", "WAIT S"});
  table.SetEmpty("no sessions");
  for (const client::SessionInfo& session : sessions) {
    table.Add({session.model, session.client_id, NameOf(session.role), std::to_string(session.epoch),
               std::to_string(session.last_sequence), std::to_string(session.durable_sequence),
               LeaseOf(session), session.contributed ? "yes" : "no", std::to_string(session.staleness),
               Optional(session.health.train_loss), Optional(session.health.tokens_per_second),
               Optional(session.health.wait_seconds)});
  }
  return table;
}

}  // namespace stepback::cli

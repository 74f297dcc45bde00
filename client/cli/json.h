// What the server says, as JSON with the proto's field names (docs/cli.md). Pure.
#pragma once

#include <string>

#include "client/cli/context.h"
#include "stepback/info.h"

namespace stepback::cli {

Json ToJson(client::Version version);
Json ToJson(const client::Rule& rule);
Json ToJson(const client::ModelDefinition& definition);
Json ToJson(const client::ModelInfo& model);
Json ToJson(const client::SnapshotInfo& snapshot);
Json ToJson(const client::SessionInfo& session);
Json ToJson(const client::ServerInfo& server);
Json ToJson(const client::RuleList& rules);

template <typename T>
Json ToJsonArray(const std::vector<T>& items) {
  Json out = Json::array();
  for (const T& item : items) out.push_back(ToJson(item));
  return out;
}

// Lower-case hex.
std::string Hex(const std::string& bytes);

}  // namespace stepback::cli

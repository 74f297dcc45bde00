// The SDK's values as JSON: the stable form for scripts. Versions are {"term", "counter"}; times are Unix
// seconds.
#pragma once

#include "nlohmann/json.hpp"
#include "stepback/client.h"

namespace stepback::cli {

using Json = nlohmann::ordered_json;

Json ToJson(const client::Version& version);
Json ToJson(const client::Rule& rule);
Json ToJson(const client::Rounds& rounds);
Json ToJson(const client::ModelInfo& model);
Json ToJson(const client::SnapshotInfo& snapshot);
Json ToJson(const client::SessionInfo& session);
Json ToJson(const client::ServerInfo& info);
Json ToJson(const client::RuleInfo& rule);
Json ToJson(const client::CodecInfo& codec);

template <typename T>
Json ToJsonList(const std::vector<T>& values) {
  Json list = Json::array();
  for (const T& value : values) list.push_back(ToJson(value));
  return list;
}

}  // namespace stepback::cli

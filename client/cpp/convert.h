// Between the proto's messages and the SDK's plain values, both ways. Pure.
#pragma once

#include <span>
#include <vector>

#include "stepback/definition.h"
#include "stepback/info.h"
#include "stepback/results.h"
#include "stepback/v1/admin.pb.h"
#include "stepback/v1/model.pb.h"
#include "stepback/v1/training.pb.h"
#include "stepback/version.h"

namespace stepback::client {

v1::Version ToProto(Version version);
v1::ModelSpec ToProto(const ModelDefinition& definition);
v1::WorkerHealth ToProto(const Health& health);
void AddRanges(std::span<const ElementRange> ranges, google::protobuf::RepeatedPtrField<v1::Range>* out);

Version FromProto(const v1::Version& version);
ModelDefinition FromProto(const v1::ModelSpec& spec);
Settings FromProto(const v1::Settings& settings);
ModelInfo FromProto(const v1::Model& model);
SnapshotInfo FromProto(const v1::Snapshot& snapshot);
SessionInfo FromProto(const v1::Session& session);
ServerInfo FromProto(const v1::GetServerInfoResponse& info);
RuleList FromProto(const v1::ListRulesResponse& rules);
VersionEvent FromProto(const v1::WatchVersionsResponse& event);
// A duplicate shows the outcome that was decided first.
PushResult FromProto(const v1::PushResponse& response);
// Without payload_bytes and durable, which the stream's end tells.
PullInfo FromProto(const v1::PullHeader& header);

}  // namespace stepback::client

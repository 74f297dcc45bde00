// The engine's answers in their proto form. Thread: any; pure.
#pragma once

#include <string>

#include "server/engine/engine.h"
#include "server/rpc/spec_convert.h"
#include "stepback/v1/admin.pb.h"
#include "stepback/v1/model.pb.h"
#include "stepback/v1/training.pb.h"

namespace stepback {

v1::Version VersionToProto(const Version& version);
v1::PushResponse AnswerToProto(const PushAnswer& answer);
v1::Model ModelToProto(const ModelInfo& info, bool with_tensors);
v1::Snapshot SnapshotToProto(const std::string& model, const SnapshotInfo& info);
v1::Session SessionToProto(const std::string& model, const SessionInfo& info, uint64_t durable_sequence);
v1::OpenSessionResponse OpenedToProto(const SessionOpened& opened);
v1::HeartbeatResponse HeartbeatToProto(const HeartbeatAnswer& answer);
// Everything but total_bytes and not_modified.
v1::PullHeader PullHeaderToProto(const ModelVersion& version, int codec);
v1::Difference DifferenceToProto(const PullReader::Difference& difference);
v1::ListRulesResponse RulesToProto();

}  // namespace stepback

// The operators' calls, and models by name.
#include "stepback/server.h"

#include "client/cpp/convert.h"
#include "client/cpp/methods.h"
#include "client/cpp/model_impl.h"
#include "client/cpp/server_impl.h"
#include "grpc/health/v1/health.pb.h"
#include "server/base/status_macros.h"

namespace stepback::client {

Server::Server(std::shared_ptr<ServerImpl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

const ConnectOptions& Server::options() const { return impl_->options(); }

absl::StatusOr<Model> Server::OpenModel(const std::string& name) {
  ASSIGN_OR_RETURN(ModelInfo info, DescribeModel(name));
  return Model(std::make_shared<ModelImpl>(ModelImpl{impl_, std::move(info), false}));
}

absl::StatusOr<ModelInfo> Server::DescribeModel(const std::string& name) { return DescribeModel(name, {}); }

absl::StatusOr<ModelInfo> Server::DescribeModel(const std::string& name, const DescribeOptions& options) {
  v1::GetModelRequest request;
  request.set_name(name);
  request.set_state_hash(options.state_hash);
  request.set_omit_tensors(!options.tensors);
  ASSIGN_OR_RETURN(const auto response,
                   impl_->CallIdempotent<v1::GetModelResponse>(methods::kGetModel, request));
  return FromProto(response.model());
}

absl::StatusOr<std::vector<ModelInfo>> Server::ListModels() {
  std::vector<ModelInfo> models;
  v1::ListModelsRequest request;
  do {
    ASSIGN_OR_RETURN(const auto response,
                     impl_->CallIdempotent<v1::ListModelsResponse>(methods::kListModels, request));
    for (const v1::Model& model : response.models()) models.push_back(FromProto(model));
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return models;
}

absl::StatusOr<Server::Updated> Server::UpdateModel(const std::string& name,
                                                    const std::map<std::string, double>& values,
                                                    uint64_t expected_settings_version) {
  v1::UpdateModelRequest request;
  request.set_name(name);
  request.mutable_values()->insert(values.begin(), values.end());
  request.set_expected_settings_version(expected_settings_version);
  ASSIGN_OR_RETURN(const auto response,
                   impl_->CallOnce<v1::UpdateModelResponse>(methods::kUpdateModel, request));
  return Updated{FromProto(response.model()), FromProto(response.effective_version())};
}

absl::Status Server::DeleteModel(const std::string& name) {
  v1::DeleteModelRequest request;
  request.set_name(name);
  return impl_->CallLong<v1::DeleteModelResponse>(methods::kDeleteModel, request).status();
}

absl::StatusOr<SnapshotInfo> Server::SaveSnapshot(const std::string& model, const std::string& label) {
  v1::SaveSnapshotRequest request;
  request.set_model(model);
  request.set_label(label);
  ASSIGN_OR_RETURN(const auto response,
                   impl_->CallLong<v1::SaveSnapshotResponse>(methods::kSaveSnapshot, request));
  return FromProto(response.snapshot());
}

absl::StatusOr<std::vector<SnapshotInfo>> Server::ListSnapshots(const std::string& model) {
  v1::ListSnapshotsRequest request;
  request.set_model(model);
  ASSIGN_OR_RETURN(const auto response,
                   impl_->CallIdempotent<v1::ListSnapshotsResponse>(methods::kListSnapshots, request));
  std::vector<SnapshotInfo> snapshots;
  for (const v1::Snapshot& snapshot : response.snapshots()) snapshots.push_back(FromProto(snapshot));
  return snapshots;
}

absl::StatusOr<ModelInfo> Server::RestoreSnapshot(const std::string& model, const std::string& label,
                                                  uint64_t generation) {
  v1::RestoreSnapshotRequest request;
  request.set_model(model);
  request.set_label(label);
  request.set_generation(generation);
  ASSIGN_OR_RETURN(const auto response,
                   impl_->CallLong<v1::RestoreSnapshotResponse>(methods::kRestoreSnapshot, request));
  return FromProto(response.model());
}

absl::StatusOr<Version> Server::Flush(const std::string& model) {
  v1::FlushRequest request;
  request.set_model(model);
  ASSIGN_OR_RETURN(const auto response, impl_->CallLong<v1::FlushResponse>(methods::kFlush, request));
  return FromProto(response.durable_version());
}

absl::StatusOr<ServerInfo> Server::Info() {
  ASSIGN_OR_RETURN(const auto response, impl_->CallIdempotent<v1::GetServerInfoResponse>(
                                            methods::kGetServerInfo, v1::GetServerInfoRequest()));
  return FromProto(response);
}

absl::StatusOr<RuleList> Server::ListRules() {
  ASSIGN_OR_RETURN(const auto response,
                   impl_->CallIdempotent<v1::ListRulesResponse>(methods::kListRules, v1::ListRulesRequest()));
  return FromProto(response);
}

absl::StatusOr<std::vector<SessionInfo>> Server::ListSessions(const std::string& model) {
  v1::ListSessionsRequest request;
  request.set_model(model);
  ASSIGN_OR_RETURN(const auto response,
                   impl_->CallIdempotent<v1::ListSessionsResponse>(methods::kListSessions, request));
  std::vector<SessionInfo> sessions;
  for (const v1::Session& session : response.sessions()) sessions.push_back(FromProto(session));
  return sessions;
}

absl::Status Server::EvictSession(const std::string& model, const std::string& client_id) {
  v1::EvictSessionRequest request;
  request.set_model(model);
  request.set_client_id(client_id);
  return impl_->CallOnce<v1::EvictSessionResponse>(methods::kEvictSession, request).status();
}

absl::StatusOr<std::string> Server::SetLogLevel(const std::string& level) {
  v1::SetLogLevelRequest request;
  request.set_level(level);
  ASSIGN_OR_RETURN(const auto response,
                   impl_->CallIdempotent<v1::SetLogLevelResponse>(methods::kSetLogLevel, request));
  return response.previous();
}

absl::Status Server::Drain() {
  return impl_->CallLong<v1::DrainResponse>(methods::kDrain, v1::DrainRequest()).status();
}

absl::StatusOr<std::string> Server::CheckHealth(const std::string& service) {
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(service);
  ASSIGN_OR_RETURN(const auto response, impl_->CallIdempotent<grpc::health::v1::HealthCheckResponse>(
                                            methods::kHealthCheck, request));
  return grpc::health::v1::HealthCheckResponse::ServingStatus_Name(response.status());
}

}  // namespace stepback::client

#include "server/rpc/training_service.h"

#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "server/rpc/find_model.h"
#include "server/rpc/pull_stream.h"
#include "server/rpc/push_stream.h"
#include "server/rpc/reply_convert.h"
#include "server/rpc/request_convert.h"
#include "server/rpc/step_stream.h"
#include "server/rpc/watch_stream.h"

namespace stepback {
namespace {

constexpr int kMetricsMax = 32;

absl::Status CheckFingerprint(const std::string& fingerprint, const Handle& model) {
  const std::shared_ptr<const Layout> layout = model.layout();
  const auto& own = layout->fingerprint();
  if (fingerprint.empty() || std::memcmp(fingerprint.data(), own.data(), own.size()) == 0)
    return absl::OkStatus();
  return Error(
      absl::StatusCode::kFailedPrecondition, "FINGERPRINT_MISMATCH",
      fmt::format(
          "model '{}' has the layout {}, the caller has another: names, order, shapes, dtypes and roles "
          "must be equal",
          model.name(), layout->fingerprint_hex()));
}

absl::Status CheckMetrics(const v1::ReportMetricsRequest& request) {
  if (request.values_size() > kMetricsMax) {
    return InvalidField("values",
                        fmt::format("has {} entries, at most {}", request.values_size(), kMetricsMax));
  }
  for (const auto& [name, value] : request.values()) RETURN_IF_ERROR(CheckMetricName(name, "values"));
  return absl::OkStatus();
}

}  // namespace

grpc::ServerReadReactor<Bytes>* TrainingService::Push(CallContext* context, Bytes* response) {
  return StartStream<PushStream>(context_.guard->Admit(Method::kPush, context), context_, response);
}

grpc::ServerWriteReactor<Bytes>* TrainingService::Pull(CallContext* context, const Bytes* request) {
  return StartStream<PullStream>(context_.guard->Admit(Method::kPull, context), context_, context, request);
}

grpc::ServerBidiReactor<Bytes, Bytes>* TrainingService::Step(CallContext* context) {
  return StartStream<StepStream>(context_.guard->Admit(Method::kStep, context), context_, context);
}

grpc::ServerWriteReactor<Bytes>* TrainingService::WatchVersions(CallContext* context, const Bytes* request) {
  return StartStream<WatchStream>(context_.guard->Admit(Method::kWatchVersions, context), context_, request);
}

grpc::ServerUnaryReactor* TrainingService::OpenSession(CallContext* context, const Bytes* request,
                                                       Bytes* response) {
  return Unary<v1::OpenSessionRequest, v1::OpenSessionResponse>(
      On(Method::kOpenSession, context, request, response),
      [this](const auto& request, const auto& reply) { Open(request, reply); });
}

void TrainingService::Open(const v1::OpenSessionRequest& request,
                           const Reply<v1::OpenSessionResponse>& reply) const {
  const auto open = OpenFromProto(request);
  if (!open.ok()) return reply(open.status());
  const auto model = FindModel(context_.engine, request.model());
  if (!model.ok()) return reply(model.status());
  const absl::Status fingerprint = CheckFingerprint(request.fingerprint(), **model);
  if (!fingerprint.ok()) return reply(fingerprint);
  (*model)->Open(*open, [this, reply](const absl::StatusOr<SessionOpened>& opened) {
    if (!opened.ok()) return reply(opened.status());
    v1::OpenSessionResponse response = OpenedToProto(*opened);
    for (const std::string& feature : context_.features) response.add_features(feature);
    reply(response);
  });
}

grpc::ServerUnaryReactor* TrainingService::CloseSession(CallContext* context, const Bytes* request,
                                                        Bytes* response) {
  return Unary<v1::CloseSessionRequest, v1::CloseSessionResponse>(
      On(Method::kCloseSession, context, request, response), [this](const auto& request, const auto& reply) {
        const auto model = FindModel(context_.engine, request.model());
        const absl::Status client = CheckClientId(request.client_id(), "client_id");
        if (!model.ok() || !client.ok()) return reply(model.ok() ? client : model.status());
        (*model)->Close(request.client_id(), request.epoch(), [reply](const absl::Status& status) {
          status.ok() ? reply(v1::CloseSessionResponse()) : reply(status);
        });
      });
}

grpc::ServerUnaryReactor* TrainingService::Heartbeat(CallContext* context, const Bytes* request,
                                                     Bytes* response) {
  return Unary<v1::HeartbeatRequest, v1::HeartbeatResponse>(
      On(Method::kHeartbeat, context, request, response), [this](const auto& request, const auto& reply) {
        const auto model = FindModel(context_.engine, request.model());
        const absl::Status client = CheckClientId(request.client_id(), "client_id");
        if (!model.ok() || !client.ok()) return reply(model.ok() ? client : model.status());
        (*model)->Heartbeat(request.client_id(), request.epoch(), HealthFromProto(request.health()),
                            [reply](const absl::StatusOr<HeartbeatAnswer>& answer) {
                              answer.ok() ? reply(HeartbeatToProto(*answer)) : reply(answer.status());
                            });
      });
}

grpc::ServerUnaryReactor* TrainingService::ReportMetrics(CallContext* context, const Bytes* request,
                                                         Bytes* response) {
  return Unary<v1::ReportMetricsRequest, v1::ReportMetricsResponse>(
      On(Method::kReportMetrics, context, request, response), [this](const auto& request, const auto& reply) {
        const auto model = FindModel(context_.engine, request.model());
        const absl::Status metrics = CheckMetrics(request);
        if (!model.ok() || !metrics.ok()) return reply(model.ok() ? metrics : model.status());
        (*model)->ReportMetrics(VersionFromProto(request.version()),
                                {request.values().begin(), request.values().end()});
        reply(v1::ReportMetricsResponse());
      });
}

}  // namespace stepback

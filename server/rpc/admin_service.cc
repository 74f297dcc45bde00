#include "server/rpc/admin_service.h"

#include <utility>

#include <grpcpp/grpcpp.h>

#include "server/base/clock.h"
#include "server/rpc/find_model.h"
#include "server/rpc/reply_convert.h"
#include "server/rpc/request_convert.h"
#include "server/rpc/session_list.h"
#include "server/telemetry/build_info.h"
#include "server/telemetry/log.h"
#include "stepback/v1/admin.pb.h"

namespace stepback {
namespace {

v1::GetServerInfoResponse ServerInfo(const ServiceContext& context) {
  const BuildInfo& build = CurrentBuild();
  v1::GetServerInfoResponse info;
  info.set_version(build.version);
  info.set_revision(build.revision);
  info.add_devices(std::string(context.engine->backend()->name()));
  for (const std::string& feature : context.features) info.add_features(feature);
  info.set_protocol_version(kProtocolVersion);
  info.set_grpc_version(grpc::Version());
  info.set_uptime_seconds(std::chrono::duration<double>(Clock::Real()->Now() - context.started).count());
  info.set_draining(context.engine->draining());
  info.set_compute_threads(context.compute_threads);
  return info;
}

v1::ListSessionsResponse SessionsToProto(const std::vector<ModelSessions>& all) {
  v1::ListSessionsResponse response;
  for (const auto& [model, sessions] : all) {
    for (const SessionInfo& session : sessions) {
      *response.add_sessions() =
          SessionToProto(model->name(), session, model->DurableSequence(session.client_id));
    }
  }
  return response;
}

// Silence is not on offer: an operator who has turned the log off cannot see that somebody did.
absl::StatusOr<LogLevel> LevelOf(const std::string& name) {
  const absl::StatusOr<LogLevel> level = ParseLogLevel(name);
  if (level.ok() && *level != LogLevel::kOff) return *level;
  return InvalidField("level", "is none of trace, debug, info, warn, error");
}

}  // namespace

grpc::ServerUnaryReactor* AdminService::GetServerInfo(CallContext* context, const Bytes* request,
                                                      Bytes* response) {
  return Unary<v1::GetServerInfoRequest, v1::GetServerInfoResponse>(
      On(Method::kGetServerInfo, context, request, response),
      [this](const auto&, const auto& reply) { reply(ServerInfo(context_)); });
}

grpc::ServerUnaryReactor* AdminService::ListRules(CallContext* context, const Bytes* request,
                                                  Bytes* response) {
  return Unary<v1::ListRulesRequest, v1::ListRulesResponse>(
      On(Method::kListRules, context, request, response),
      [](const auto&, const auto& reply) { reply(RulesToProto()); });
}

absl::StatusOr<std::vector<std::shared_ptr<Handle>>> AdminService::Models(const std::string& name) const {
  if (name.empty()) return context_.engine->List();
  ASSIGN_OR_RETURN(std::shared_ptr<Handle> model, FindModel(context_.engine, name));
  return std::vector<std::shared_ptr<Handle>>{std::move(model)};
}

grpc::ServerUnaryReactor* AdminService::ListSessions(CallContext* context, const Bytes* request,
                                                     Bytes* response) {
  return Unary<v1::ListSessionsRequest, v1::ListSessionsResponse>(
      On(Method::kListSessions, context, request, response), [this](const auto& request, const auto& reply) {
        const auto models = Models(request.model());
        if (!models.ok()) return reply(models.status());
        ListSessionsOf(*models, [reply](const auto& sessions) { reply(SessionsToProto(sessions)); });
      });
}

grpc::ServerUnaryReactor* AdminService::EvictSession(CallContext* context, const Bytes* request,
                                                     Bytes* response) {
  return Unary<v1::EvictSessionRequest, v1::EvictSessionResponse>(
      On(Method::kEvictSession, context, request, response), [this](const auto& request, const auto& reply) {
        const auto model = FindModel(context_.engine, request.model());
        const absl::Status client = CheckClientId(request.client_id(), "client_id");
        if (!model.ok() || !client.ok()) return reply(model.ok() ? client : model.status());
        (*model)->Evict(request.client_id(), [reply](const absl::Status& status) {
          status.ok() ? reply(v1::EvictSessionResponse()) : reply(status);
        });
      });
}

grpc::ServerUnaryReactor* AdminService::SetLogLevel(CallContext* context, const Bytes* request,
                                                    Bytes* response) {
  return Unary<v1::SetLogLevelRequest, v1::SetLogLevelResponse>(
      On(Method::kSetLogLevel, context, request, response), [](const auto& request, const auto& reply) {
        const absl::StatusOr<LogLevel> level = LevelOf(request.level());
        if (!level.ok()) return reply(level.status());
        v1::SetLogLevelResponse answer;
        answer.set_previous(std::string(kLogLevelNames[static_cast<size_t>(GetLogLevel())]));
        stepback::SetLogLevel(*level);
        reply(answer);
      });
}

grpc::ServerUnaryReactor* AdminService::Drain(CallContext* context, const Bytes* request, Bytes* response) {
  return Unary<v1::DrainRequest, v1::DrainResponse>(
      On(Method::kDrain, context, request, response), [this](const auto&, const auto& reply) {
        context_.drain([reply](const absl::Status& status) {
          status.ok() ? reply(v1::DrainResponse()) : reply(status);
        });
      });
}

}  // namespace stepback

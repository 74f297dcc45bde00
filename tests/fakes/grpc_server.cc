#include "tests/fakes/grpc_server.h"

#include <fmt/format.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <chrono>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/base/check.h"
#include "server/base/errors.h"
#include "stepback/v1/admin.grpc.pb.h"
#include "stepback/v1/model.grpc.pb.h"
#include "stepback/v1/training.grpc.pb.h"

namespace stepback::fakes {
namespace {

grpc::Status ToWire(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const std::string message(status.message());
  const auto code = static_cast<grpc::StatusCode>(status.code());
  if (ReasonOf(status).empty()) return grpc::Status(code, message);
  google::rpc::Status details;
  details.set_code(static_cast<int>(code));
  details.set_message(message);
  google::rpc::ErrorInfo info;
  info.set_reason(ReasonOf(status));
  info.set_domain("stepback.dev");
  info.mutable_metadata()->insert({"who", "fake"});
  details.add_details()->PackFrom(info);
  if (const auto seconds = RetryAfterOf(status)) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_nanos(static_cast<int>(*seconds * 1e9));
    details.add_details()->PackFrom(retry);
  }
  return grpc::Status(code, message, details.SerializeAsString());
}

Alive AliveOf(grpc::ServerContext* context) {
  return [context] { return !context->IsCancelled(); };
}

template <typename Message, typename Stream>
Read<Message> Reader(Stream* stream) {
  return [stream](Message* message) { return stream->Read(message); };
}

template <typename Message, typename Stream>
Write<Message> Writer(Stream* stream) {
  return [stream](const Message& message) { return stream->Write(message); };
}

template <typename Request, typename Response>
grpc::Status Unary(TrainingServer* server, const char* method, const Request* request, Response* response) {
  std::string bytes;
  const absl::Status status = server->Unary(method, request->SerializeAsString(), &bytes);
  if (status.ok()) response->ParseFromString(bytes);
  return ToWire(status);
}

class Training final : public v1::TrainingService::Service {
 public:
  explicit Training(TrainingServer* server) : server_(server) {}

  grpc::Status OpenSession(grpc::ServerContext*, const v1::OpenSessionRequest* request,
                           v1::OpenSessionResponse* response) override {
    return Unary(server_, "/OpenSession", request, response);
  }
  grpc::Status CloseSession(grpc::ServerContext*, const v1::CloseSessionRequest* request,
                            v1::CloseSessionResponse* response) override {
    return Unary(server_, "/CloseSession", request, response);
  }
  grpc::Status Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest* request,
                         v1::HeartbeatResponse* response) override {
    return Unary(server_, "/Heartbeat", request, response);
  }
  grpc::Status Push(grpc::ServerContext* context, grpc::ServerReader<v1::PushRequest>* stream,
                    v1::PushResponse* response) override {
    return ToWire(server_->Push(Reader<v1::PushRequest>(stream), AliveOf(context), response));
  }
  grpc::Status Pull(grpc::ServerContext* context, const v1::PullRequest* request,
                    grpc::ServerWriter<v1::PullResponse>* stream) override {
    return ToWire(server_->Pull(*request, AliveOf(context), Writer<v1::PullResponse>(stream)));
  }
  grpc::Status Step(grpc::ServerContext* context,
                    grpc::ServerReaderWriter<v1::StepResponse, v1::StepRequest>* stream) override {
    return ToWire(
        server_->Step(Reader<v1::StepRequest>(stream), AliveOf(context), Writer<v1::StepResponse>(stream)));
  }
  grpc::Status WatchVersions(grpc::ServerContext* context, const v1::WatchVersionsRequest* request,
                             grpc::ServerWriter<v1::WatchVersionsResponse>* stream) override {
    return ToWire(server_->Watch(*request, AliveOf(context), Writer<v1::WatchVersionsResponse>(stream)));
  }

 private:
  TrainingServer* const server_;
};

class Models final : public v1::ModelService::Service {
 public:
  explicit Models(TrainingServer* server) : server_(server) {}

  grpc::Status CreateModel(grpc::ServerContext*, grpc::ServerReader<v1::CreateModelRequest>* stream,
                           v1::CreateModelResponse* response) override {
    return ToWire(server_->Create(Reader<v1::CreateModelRequest>(stream), response));
  }
  grpc::Status GetModel(grpc::ServerContext*, const v1::GetModelRequest* request,
                        v1::GetModelResponse* response) override {
    return Unary(server_, "/GetModel", request, response);
  }
  grpc::Status Flush(grpc::ServerContext*, const v1::FlushRequest* request,
                     v1::FlushResponse* response) override {
    return Unary(server_, "/Flush", request, response);
  }
  grpc::Status ExportModel(grpc::ServerContext*, const v1::ExportModelRequest* request,
                           grpc::ServerWriter<v1::ExportModelResponse>* stream) override {
    return ToWire(server_->Export(*request, Writer<v1::ExportModelResponse>(stream)));
  }
  grpc::Status ImportModel(grpc::ServerContext*, grpc::ServerReader<v1::ImportModelRequest>* stream,
                           v1::ImportModelResponse* response) override {
    return ToWire(server_->Import(Reader<v1::ImportModelRequest>(stream), response));
  }

 private:
  TrainingServer* const server_;
};

class Admin final : public v1::AdminService::Service {
 public:
  explicit Admin(TrainingServer* server) : server_(server) {}
  grpc::Status GetServerInfo(grpc::ServerContext*, const v1::GetServerInfoRequest* request,
                             v1::GetServerInfoResponse* response) override {
    return Unary(server_, "/GetServerInfo", request, response);
  }

 private:
  TrainingServer* const server_;
};

}  // namespace

struct GrpcServer::Impl {
  explicit Impl(TrainingServer* server) : training(server), models(server), admin(server) {}

  Training training;
  Models models;
  Admin admin;
  int port = 0;
  std::unique_ptr<grpc::Server> server;
};

GrpcServer::GrpcServer(TrainingServer* server) : impl_(std::make_unique<Impl>(server)) { Start(); }

GrpcServer::~GrpcServer() { Stop(); }

void GrpcServer::Stop() {
  if (impl_->server == nullptr) return;
  impl_->server->Shutdown(std::chrono::system_clock::now());
  impl_->server.reset();
}

void GrpcServer::Start() {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddListeningPort(fmt::format("127.0.0.1:{}", impl_->port), grpc::InsecureServerCredentials(),
                           &impl_->port);
  builder.RegisterService(&impl_->training);
  builder.RegisterService(&impl_->models);
  builder.RegisterService(&impl_->admin);
  impl_->server = builder.BuildAndStart();
  SB_CHECK(impl_->server != nullptr, "port %d", impl_->port);
}

std::string GrpcServer::address() const { return fmt::format("127.0.0.1:{}", impl_->port); }

}  // namespace stepback::fakes

// TrainingService of the proto: sessions, and the streams of the data path. Owner: the server. Thread: any.
#pragma once

#include "server/rpc/raw_service.h"
#include "server/rpc/service_context.h"
#include "server/rpc/unary.h"
#include "stepback/v1/training.pb.h"

namespace stepback {

class TrainingService final : public RawTrainingService {
 public:
  explicit TrainingService(const ServiceContext* context) : context_(*context) {}

  grpc::ServerUnaryReactor* OpenSession(CallContext* context, const Bytes* request, Bytes* response) override;
  grpc::ServerUnaryReactor* CloseSession(CallContext* context, const Bytes* request,
                                         Bytes* response) override;
  grpc::ServerUnaryReactor* Heartbeat(CallContext* context, const Bytes* request, Bytes* response) override;
  grpc::ServerReadReactor<Bytes>* Push(CallContext* context, Bytes* response) override;
  grpc::ServerWriteReactor<Bytes>* Pull(CallContext* context, const Bytes* request) override;
  grpc::ServerBidiReactor<Bytes, Bytes>* Step(CallContext* context) override;
  grpc::ServerWriteReactor<Bytes>* WatchVersions(CallContext* context, const Bytes* request) override;
  grpc::ServerUnaryReactor* ReportMetrics(CallContext* context, const Bytes* request,
                                          Bytes* response) override;

 private:
  UnaryCall On(Method method, CallContext* context, const Bytes* request, Bytes* response) const {
    return {context_.guard, method, context, request, response};
  }
  void Open(const v1::OpenSessionRequest& request, const Reply<v1::OpenSessionResponse>& reply) const;

  const ServiceContext& context_;
};

}  // namespace stepback

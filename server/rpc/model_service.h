// ModelService of the proto: each handler parses, asks the engine and answers; the streams have files of
// their own. Owner: the server. Thread: any.
#pragma once

#include "server/rpc/raw_service.h"
#include "server/rpc/service_context.h"
#include "server/rpc/unary.h"
#include "stepback/v1/model.pb.h"

namespace stepback {

class ModelService final : public RawModelService {
 public:
  explicit ModelService(const ServiceContext* context) : context_(*context) {}

  grpc::ServerReadReactor<Bytes>* CreateModel(CallContext* context, Bytes* response) override;
  grpc::ServerUnaryReactor* GetModel(CallContext* context, const Bytes* request, Bytes* response) override;
  grpc::ServerUnaryReactor* ListModels(CallContext* context, const Bytes* request, Bytes* response) override;
  grpc::ServerUnaryReactor* UpdateModel(CallContext* context, const Bytes* request, Bytes* response) override;
  grpc::ServerUnaryReactor* DeleteModel(CallContext* context, const Bytes* request, Bytes* response) override;
  grpc::ServerUnaryReactor* SaveSnapshot(CallContext* context, const Bytes* request,
                                         Bytes* response) override;
  grpc::ServerUnaryReactor* ListSnapshots(CallContext* context, const Bytes* request,
                                          Bytes* response) override;
  grpc::ServerUnaryReactor* RestoreSnapshot(CallContext* context, const Bytes* request,
                                            Bytes* response) override;
  grpc::ServerWriteReactor<Bytes>* ExportModel(CallContext* context, const Bytes* request) override;
  grpc::ServerReadReactor<Bytes>* ImportModel(CallContext* context, Bytes* response) override;
  grpc::ServerUnaryReactor* Flush(CallContext* context, const Bytes* request, Bytes* response) override;

 private:
  UnaryCall On(Method method, CallContext* context, const Bytes* request, Bytes* response) const {
    return {context_.guard, method, context, request, response};
  }

  const ServiceContext& context_;
};

}  // namespace stepback

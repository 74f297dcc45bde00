// AdminService of the proto: what operators ask. Owner: the server. Thread: any.
#pragma once

#include "server/rpc/raw_service.h"
#include "server/rpc/service_context.h"
#include "server/rpc/unary.h"

namespace stepback {

class AdminService final : public RawAdminService {
 public:
  explicit AdminService(const ServiceContext* context) : context_(*context) {}

  grpc::ServerUnaryReactor* GetServerInfo(CallContext* context, const Bytes* request,
                                          Bytes* response) override;
  grpc::ServerUnaryReactor* ListRules(CallContext* context, const Bytes* request, Bytes* response) override;
  grpc::ServerUnaryReactor* ListSessions(CallContext* context, const Bytes* request,
                                         Bytes* response) override;
  grpc::ServerUnaryReactor* EvictSession(CallContext* context, const Bytes* request,
                                         Bytes* response) override;
  grpc::ServerUnaryReactor* SetLogLevel(CallContext* context, const Bytes* request, Bytes* response) override;
  grpc::ServerUnaryReactor* Drain(CallContext* context, const Bytes* request, Bytes* response) override;

 private:
  UnaryCall On(Method method, CallContext* context, const Bytes* request, Bytes* response) const {
    return {context_.guard, method, context, request, response};
  }
  absl::StatusOr<std::vector<std::shared_ptr<Handle>>> Models(const std::string& name) const;

  const ServiceContext& context_;
};

}  // namespace stepback

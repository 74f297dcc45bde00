// TrainingService.Pull: one version, at once or as soon as there is a newer one (training.proto).
#pragma once

#include <optional>

#include "server/rpc/version_stream.h"
#include "stepback/v1/training.pb.h"

namespace stepback {

class PullStream final : public VersionStream<WriteStream> {
 public:
  PullStream(Call call, const ServiceContext& context, grpc::CallbackServerContext* grpc_context,
             const grpc::ByteBuffer* request)
      : VersionStream(std::move(call), context, grpc_context, kPullFields), request_(request) {}

 private:
  void OnBegin() override;
  absl::Status Start(const v1::PullRequest& request);
  void RenewLease(const v1::PullRequest& request);

  const grpc::ByteBuffer* const request_;
};

}  // namespace stepback

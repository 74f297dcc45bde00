// ModelService.ExportModel: one version as a safetensors file (model.proto).
#pragma once

#include <memory>

#include "server/rpc/call_timer.h"
#include "server/rpc/export_source.h"
#include "server/rpc/held_call.h"
#include "server/rpc/service_context.h"
#include "server/rpc/stream.h"

namespace stepback {

class ExportStream final : public WriteStream {
 public:
  ExportStream(Call call, const ServiceContext& context, grpc::CallbackServerContext* grpc_context,
               const grpc::ByteBuffer* request)
      : WriteStream(std::move(call)), context_(context), held_(grpc_context), request_(request) {}

 private:
  void OnBegin() override;
  void OnWritten() override { SendNext(); }
  void OnRelease() override;

  absl::Status Start();
  void SendNext();
  grpc::ByteBuffer Message(uint64_t offset, Payload piece) const;
  void OnRevoked();

  const ServiceContext& context_;
  const HeldCall held_;
  const grpc::ByteBuffer* const request_;
  std::shared_ptr<Handle> model_;
  std::unique_ptr<ExportSource> source_;
  CallTimer timer_;
};

}  // namespace stepback

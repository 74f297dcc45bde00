// TrainingService.WatchVersions: the published version now, after every change, and at least every waiting
// interval, so that proxies do not cut an idle call. Changes that come faster than the reader takes them are
// coalesced.
#pragma once

#include <memory>

#include "server/rpc/call_timer.h"
#include "server/rpc/service_context.h"
#include "server/rpc/stream.h"

namespace stepback {

class WatchStream final : public WriteStream {
 public:
  WatchStream(Call call, const ServiceContext& context, const grpc::ByteBuffer* request)
      : WriteStream(std::move(call)), context_(context), request_(request) {}

 private:
  void OnBegin() override;
  void OnWritten() override { WaitForNext(); }
  void OnRelease() override;

  absl::Status Start();
  void SendCurrent();
  void WaitForNext();

  const ServiceContext& context_;
  const grpc::ByteBuffer* const request_;
  std::shared_ptr<Handle> model_;
  Version sent_;
  std::unique_ptr<Cancel> wait_;
  CallTimer timer_;
};

}  // namespace stepback

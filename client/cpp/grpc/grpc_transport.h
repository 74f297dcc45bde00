// Transport over a gRPC channel: generic calls with raw byte buffers, so that tensor bytes pass without a
// copy.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "client/cpp/connector.h"
#include "client/cpp/grpc/channel.h"
#include "client/cpp/transport.h"
#include "server/base/mutex.h"

namespace stepback::client {

class GrpcTransport final : public Transport {
 public:
  explicit GrpcTransport(std::shared_ptr<const ChannelFactory> factory);

  std::unique_ptr<Stream> Open(const std::string& method, const CallLimits& limits,
                               Interrupt* interrupt) override;
  void Reset() override;

 private:
  const std::shared_ptr<const ChannelFactory> factory_;
  Mutex mu_;
  std::shared_ptr<grpc::Channel> channel_ GUARDED_BY(mu_);
};

class GrpcConnector final : public Connector {
 public:
  GrpcConnector(ChannelFactory factory, int bulk_channels);

  std::shared_ptr<Transport> Control() override { return control_; }
  std::shared_ptr<Transport> Bulk() override;
  std::shared_ptr<Transport> ForWorker() override;

 private:
  const std::shared_ptr<const ChannelFactory> factory_;
  const std::shared_ptr<Transport> control_;
  std::vector<std::shared_ptr<Transport>> bulk_;
  std::atomic<uint32_t> next_bulk_ = 0;
};

}  // namespace stepback::client

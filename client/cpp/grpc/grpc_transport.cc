#include "client/cpp/grpc/grpc_transport.h"

#include "client/cpp/grpc/grpc_stream.h"

namespace stepback::client {

GrpcTransport::GrpcTransport(std::shared_ptr<const ChannelFactory> factory) : factory_(std::move(factory)) {}

std::unique_ptr<Stream> GrpcTransport::Open(const std::string& method, const CallLimits& limits,
                                            Interrupt* interrupt) {
  std::shared_ptr<grpc::Channel> channel;
  {
    MutexLock lock(&mu_);
    if (channel_ == nullptr) channel_ = factory_->NewChannel();
    channel = channel_;
  }
  return std::make_unique<GrpcStream>(std::move(channel), method, limits, interrupt);
}

void GrpcTransport::Reset() {
  std::shared_ptr<grpc::Channel> dropped;
  MutexLock lock(&mu_);
  dropped.swap(channel_);
}

GrpcConnector::GrpcConnector(ChannelFactory factory, int bulk_channels)
    : factory_(std::make_shared<const ChannelFactory>(std::move(factory))),
      control_(std::make_shared<GrpcTransport>(factory_)) {
  for (int i = 0; i < bulk_channels; ++i) bulk_.push_back(std::make_shared<GrpcTransport>(factory_));
}

std::shared_ptr<Transport> GrpcConnector::Bulk() {
  return bulk_[next_bulk_.fetch_add(1, std::memory_order_relaxed) % bulk_.size()];
}

std::shared_ptr<Transport> GrpcConnector::ForWorker() { return std::make_shared<GrpcTransport>(factory_); }

}  // namespace stepback::client

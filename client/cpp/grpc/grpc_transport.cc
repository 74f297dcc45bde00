#include "client/cpp/grpc/grpc_transport.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "client/cpp/grpc/grpc_stream.h"

namespace stepback::client {
namespace {

constexpr auto kAttemptMax = std::chrono::seconds(20);  // gRPC's own bound of one

// gRPC gets on with a connection only while somebody waits for it, and otherwise looks once in five seconds.
// So this waits until the connection stands or has failed. The first failure may be an old one.
void AwaitAttempt(grpc::Channel* channel, const CallLimits& limits, const Interrupt& interrupt) {
  const auto now = [] { return std::chrono::system_clock::now(); };
  const bool limited = limits.timeout.count() > 0;
  const auto end =
      now() + (limited ? std::min<std::chrono::nanoseconds>(limits.timeout, kAttemptMax) : kAttemptMax);
  int failures = 0;
  for (grpc_connectivity_state state = channel->GetState(true); state != GRPC_CHANNEL_READY;) {
    if (failures == 2 || now() >= end || !interrupt.Check().ok()) return;
    channel->WaitForStateChange(state, std::min(end, now() + kPollInterval));
    const grpc_connectivity_state before = std::exchange(state, channel->GetState(true));
    failures += state == GRPC_CHANNEL_TRANSIENT_FAILURE && state != before;
  }
}

}  // namespace

GrpcTransport::GrpcTransport(std::shared_ptr<const ChannelFactory> factory) : factory_(std::move(factory)) {}

std::unique_ptr<Stream> GrpcTransport::Open(const std::string& method, const CallLimits& limits,
                                            Interrupt* interrupt) {
  std::shared_ptr<grpc::Channel> channel;
  {
    MutexLock lock(&mu_);
    if (channel_ == nullptr) channel_ = factory_->NewChannel();
    channel = channel_;
  }
  AwaitAttempt(channel.get(), limits, *interrupt);
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

// The client's transport in one process: every call is a thread that runs a handler of the fake server,
// behind bounded queues of serialised messages. No gRPC, so the thread sanitizer sees all of it.
#pragma once

#include <atomic>
#include <memory>

#include "client/cpp/connector.h"
#include "client/cpp/transport.h"
#include "tests/fakes/training_server.h"

namespace stepback::fakes {

class InProcessTransport final : public client::Transport {
 public:
  explicit InProcessTransport(TrainingServer* server) : server_(server) {}
  std::unique_ptr<client::Stream> Open(const std::string& method, const client::CallLimits& limits,
                                       client::Interrupt* interrupt) override;
  void Reset() override { ++resets_; }
  int resets() const { return resets_; }

 private:
  TrainingServer* const server_;
  std::atomic<int> resets_ = 0;
};

class InProcessConnector final : public client::Connector {
 public:
  explicit InProcessConnector(TrainingServer* server)
      : transport_(std::make_shared<InProcessTransport>(server)) {}
  std::shared_ptr<client::Transport> Control() override { return transport_; }
  std::shared_ptr<client::Transport> Bulk() override { return transport_; }
  std::shared_ptr<client::Transport> ForWorker() override { return transport_; }

 private:
  const std::shared_ptr<InProcessTransport> transport_;
};

}  // namespace stepback::fakes

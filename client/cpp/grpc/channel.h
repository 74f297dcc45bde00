// gRPC channels with the SDK's settings: credentials, keepalive, window and message sizes.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/security/credentials.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "stepback/options.h"

namespace stepback::client {

// Whether the address stays on this machine: loopback, "localhost" or a Unix socket.
bool IsLocal(const std::string& address);

// Makes connections to one server; each channel has a TCP connection of its own.
class ChannelFactory {
 public:
  // Reads the TLS files. FAILED_PRECONDITION for plaintext to another machine without `insecure`.
  static absl::StatusOr<ChannelFactory> Make(const ConnectOptions& options);
  std::shared_ptr<grpc::Channel> NewChannel() const;

 private:
  ChannelFactory(ConnectOptions options, std::shared_ptr<grpc::ChannelCredentials> credentials)
      : options_(std::move(options)), credentials_(std::move(credentials)) {}

  ConnectOptions options_;
  std::shared_ptr<grpc::ChannelCredentials> credentials_;
};

}  // namespace stepback::client

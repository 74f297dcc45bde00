#include "client/cpp/server_impl.h"

#include <fmt/format.h>

#include <algorithm>

#include "client/cpp/retry.h"

namespace stepback::client {
namespace {

constexpr int kTries = 4;

absl::Status OutOfBounds(const char* option, uint64_t value, uint64_t min, uint64_t max) {
  return absl::InvalidArgumentError(
      fmt::format("ConnectOptions.{} is {}, expected {}..{}", option, value, min, max));
}

}  // namespace

ServerImpl::ServerImpl(ConnectOptions options, std::shared_ptr<Connector> connector)
    : options_(std::move(options)),
      connector_(std::move(connector)),
      pool_(std::make_shared<BufferPool>()),
      interrupt_(options_.interrupted) {}

absl::Status ServerImpl::CallRepeatable(const char* method, const google::protobuf::MessageLite& request,
                                        google::protobuf::MessageLite* response) {
  Retry retry(options_.retry, &interrupt_, Clock::Real()->Now() + options_.control_timeout);
  absl::Status status;
  for (int i = 0; i < kTries; ++i) {
    status = CallUnary(connector_->Control().get(), method, request, response, ControlLimits(), &interrupt_);
    if (status.ok() || i + 1 == kTries) break;
    RETURN_IF_ERROR(retry.Wait(status));
  }
  return status;
}

absl::Status CheckOptions(const ConnectOptions& options) {
  constexpr uint64_t kChunkBytesMin = 4 << 10, kChunkBytesMax = 4 << 20;
  if (options.address.empty()) return absl::InvalidArgumentError("ConnectOptions.address is empty");
  if (options.channels < 1 || options.channels > 64) return OutOfBounds("channels", options.channels, 1, 64);
  if (options.chunk_bytes < kChunkBytesMin || options.chunk_bytes > kChunkBytesMax ||
      options.chunk_bytes % 8 != 0) {
    return OutOfBounds("chunk_bytes (a multiple of 8)", options.chunk_bytes, kChunkBytesMin, kChunkBytesMax);
  }
  if (options.chunks_in_flight < 1 || options.chunks_in_flight > 64) {
    return OutOfBounds("chunks_in_flight", options.chunks_in_flight, 1, 64);
  }
  if (options.tls.cert_file.empty() != options.tls.key_file.empty()) {
    return absl::InvalidArgumentError("ConnectOptions.tls: cert_file and key_file belong together");
  }
  return absl::OkStatus();
}

}  // namespace stepback::client

#include "client/cpp/server_impl.h"

#include <fmt/format.h>

#include <algorithm>

#include "client/cpp/retry.h"

namespace stepback::client {
namespace {

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
  std::optional<TimePoint> deadline;
  if (options_.control_timeout.count() > 0) deadline = Clock::Real()->Now() + options_.control_timeout;
  Retry retry(options_.retry, &interrupt_, deadline);
  for (;;) {
    const CallLimits limits{.timeout = retry.TimeLeft()};
    const absl::Status status =
        CallUnary(connector_->Control().get(), method, request, response, limits, &interrupt_);
    if (status.ok()) return status;
    const absl::Status waited = retry.Wait(status);
    // Out of time: what the last try met says more.
    if (!waited.ok()) return absl::IsDeadlineExceeded(waited) ? status : waited;
  }
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

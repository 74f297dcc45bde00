#include "client/cpp/grpc/channel.h"

#include <fmt/format.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "server/base/status_macros.h"

namespace stepback::client {
namespace {

constexpr int kMessageBytesMax = 8 << 20;
constexpr int kFrameBytes = 1 << 20;

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  if (path.empty()) return std::string();
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  if (!file) return absl::NotFoundError(fmt::format("cannot read '{}'", path));
  return content.str();
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> Credentials(const ConnectOptions& options) {
  if (!options.tls.enabled() && (options.insecure || IsLocal(options.address))) {
    return grpc::InsecureChannelCredentials();
  }
  if (options.tls.enabled() && options.insecure) {
    return absl::InvalidArgumentError("ConnectOptions: `insecure` and TLS options exclude each other");
  }
  grpc::SslCredentialsOptions ssl;
  ASSIGN_OR_RETURN(ssl.pem_root_certs, ReadFile(options.tls.ca_file));
  ASSIGN_OR_RETURN(ssl.pem_cert_chain, ReadFile(options.tls.cert_file));
  ASSIGN_OR_RETURN(ssl.pem_private_key, ReadFile(options.tls.key_file));
  return grpc::SslCredentials(ssl);
}

int Millis(std::chrono::milliseconds duration) {
  return static_cast<int>(std::clamp<int64_t>(duration.count(), 1, 1 << 30));
}

}  // namespace

bool IsLocal(const std::string& address) {
  const auto starts = [&](const char* prefix) { return address.rfind(prefix, 0) == 0; };
  return starts("unix:") || starts("localhost:") || address == "localhost" || starts("127.") ||
         starts("[::1]:") || starts("ipv4:127.") || starts("ipv6:[::1]") || starts("dns:///localhost:");
}

absl::StatusOr<ChannelFactory> ChannelFactory::Make(const ConnectOptions& options) {
  ASSIGN_OR_RETURN(std::shared_ptr<grpc::ChannelCredentials> credentials, Credentials(options));
  return ChannelFactory(options, std::move(credentials));
}

std::shared_ptr<grpc::Channel> ChannelFactory::NewChannel() const {
  grpc::ChannelArguments args;
  args.SetMaxReceiveMessageSize(kMessageBytesMax);
  args.SetMaxSendMessageSize(kMessageBytesMax);
  args.SetInt(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kFrameBytes);
  // A write is taken as soon as it fits here: this many chunks are on their way while the next is prepared.
  const int64_t in_flight = int64_t{options_.chunk_bytes} * options_.chunks_in_flight;
  args.SetInt(GRPC_ARG_HTTP2_WRITE_BUFFER_SIZE, static_cast<int>(std::min<int64_t>(in_flight, 64 << 20)));
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);  // the SDK retries whole calls
  args.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  args.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, Millis(options_.retry.backoff_initial));
  // The SDK's own pauses grow; both together would add up.
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, Millis(options_.retry.backoff_initial));
  if (IsLocal(options_.address)) args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (!options_.tls.server_name.empty()) args.SetSslTargetNameOverride(options_.tls.server_name);
  return grpc::CreateCustomChannel(options_.address, credentials_, args);
}

}  // namespace stepback::client

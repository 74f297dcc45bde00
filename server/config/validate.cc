#include "server/config/validate.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "server/base/status_macros.h"
#include "server/config/listen_address.h"

namespace stepback {
namespace {

bool OnLoopback(const Config& config) {
  const auto address = ParseListenAddress(config.server.listen);
  return address.ok() && address->IsLoopback();
}

absl::Status CheckTlsPairing(const Config::Tls& tls) {
  if (tls.cert_file.empty() != tls.key_file.empty()) {
    return absl::InvalidArgumentError(fmt::format(
        "{} is set but {} is not: a certificate and its key come together",
        tls.enabled() ? "tls.cert_file" : "tls.key_file", tls.enabled() ? "tls.key_file" : "tls.cert_file"));
  }
  if (!tls.enabled() && (!tls.client_ca_file.empty() || tls.require_client_cert == ClientCert::kYes)) {
    return absl::InvalidArgumentError(
        "client certificates are asked for but TLS is off: set tls.cert_file and tls.key_file");
  }
  return absl::OkStatus();
}

absl::Status CheckClientCa(const Config& config) {
  if (!RequiresClientCert(config) || !config.tls.client_ca_file.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format(
      "server.listen {} takes clients with certificates only, but tls.client_ca_file is not set: set it, or "
      "say tls.require_client_cert: false",
      config.server.listen));
}

absl::Status CheckPlaintext(const Config& config) {
  if (config.tls.enabled() && config.server.insecure) {
    return absl::InvalidArgumentError("server.insecure and tls.cert_file contradict each other: remove one");
  }
  if (config.tls.enabled() || config.server.insecure || OnLoopback(config)) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format(
      "server.listen {} can be reached from other machines, and TLS is off: set tls.cert_file, tls.key_file "
      "and tls.client_ca_file, or listen on 127.0.0.1, or say --insecure to serve plaintext on purpose",
      config.server.listen));
}

absl::Status CheckReadable(const std::string& setting, const std::string& path) {
  if (path.empty() || access(path.c_str(), R_OK) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{}: '{}' cannot be read: {}", setting, path, std::strerror(errno)));
}

absl::Status CheckAddresses(const Config::Server& server) {
  ASSIGN_OR_RETURN(const ListenAddress grpc, ParseListenAddress(server.listen));
  if (server.http_listen.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const ListenAddress http, ParseListenAddress(server.http_listen));
  if (grpc.is_unix() || grpc.port == 0 || grpc.port != http.port || grpc.host != http.host)
    return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("server.listen and server.http_listen are both {}: give them two ports", server.listen));
}

}  // namespace

bool RequiresClientCert(const Config& config) {
  if (!config.tls.enabled()) return false;
  if (config.tls.require_client_cert != ClientCert::kAuto)
    return config.tls.require_client_cert == ClientCert::kYes;
  return !OnLoopback(config);
}

absl::Status Validate(const Config& config) {
  RETURN_IF_ERROR(CheckAddresses(config.server));
  RETURN_IF_ERROR(CheckTlsPairing(config.tls));
  RETURN_IF_ERROR(CheckPlaintext(config));
  RETURN_IF_ERROR(CheckClientCa(config));
  RETURN_IF_ERROR(CheckReadable("tls.cert_file", config.tls.cert_file));
  RETURN_IF_ERROR(CheckReadable("tls.key_file", config.tls.key_file));
  return CheckReadable("tls.client_ca_file", config.tls.client_ca_file);
}

}  // namespace stepback

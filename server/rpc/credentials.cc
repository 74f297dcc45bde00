#include "server/rpc/credentials.h"

#include <algorithm>

#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include "server/base/status_macros.h"
#include "server/rpc/tls_files.h"

namespace stepback {
namespace {

using grpc::experimental::FileWatcherCertificateProvider;
using grpc::experimental::TlsServerCredentialsOptions;

absl::Status CheckFiles(const Config::Tls& tls) {
  RETURN_IF_ERROR(CheckKeyPair(tls.cert_file, tls.key_file));
  return tls.client_ca_file.empty() ? absl::OkStatus() : CheckCertificates(tls.client_ca_file);
}

grpc_ssl_client_certificate_request_type RequestType(const Config::Tls& tls, bool require_client_cert) {
  if (tls.client_ca_file.empty()) return GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE;
  return require_client_cert ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                             : GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY;
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const Config::Tls& tls,
                                                                               bool require_client_cert,
                                                                               Duration refresh) {
  if (!tls.enabled()) return grpc::InsecureServerCredentials();
  RETURN_IF_ERROR(CheckFiles(tls));
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(refresh).count();
  const auto watcher = std::make_shared<FileWatcherCertificateProvider>(
      tls.key_file, tls.cert_file, tls.client_ca_file, static_cast<unsigned>(std::max<int64_t>(1, seconds)));
  TlsServerCredentialsOptions options(watcher);
  options.watch_identity_key_cert_pairs();
  if (!tls.client_ca_file.empty()) options.watch_root_certs();
  options.set_cert_request_type(RequestType(tls, require_client_cert));
  return grpc::experimental::TlsServerCredentials(options);
}

}  // namespace stepback

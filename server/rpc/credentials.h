// Credentials of the gRPC port: plaintext, TLS, or TLS with client certificates. Certificate files are
// watched, so that renewed ones are used without a restart. Whether plaintext is allowed at an address is
// config's rule, not decided here.
//
//   ASSIGN_OR_RETURN(auto credentials, MakeServerCredentials(config.tls, RequiresClientCert(config)));
#pragma once

#include <memory>

#include <grpcpp/security/server_credentials.h>

#include "absl/status/statusor.h"
#include "server/config/config.h"

namespace stepback {

// gRPC itself would start with files that cannot work and then refuse every connection, so they are read and
// matched here first: INVALID_ARGUMENT(BAD_TLS_FILE) names the file and what is wrong with it. `refresh`: how
// often the files are looked at.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const Config::Tls& tls, bool require_client_cert, Duration refresh = std::chrono::seconds(10));

}  // namespace stepback

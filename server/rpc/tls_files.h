// Checks PEM files before they are handed to a TLS library that would only complain at the first handshake.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace stepback {

// A certificate chain and the private key that belongs to it. INVALID_ARGUMENT(BAD_TLS_FILE).
absl::Status CheckKeyPair(const std::string& cert_file, const std::string& key_file);
// At least one certificate.
absl::Status CheckCertificates(const std::string& file);

}  // namespace stepback

// Certificates for tests, made with libcrypto: a CA, and keys signed by it. Files go into a directory that
// the caller owns.
#pragma once

#include <string>

namespace stepback {

struct CertificateFiles {
  std::string cert_file;
  std::string key_file;
};

// A self-signed CA named `name`, valid for a day.
CertificateFiles MakeCa(const std::string& directory, const std::string& name);
// A certificate for `name` (also as DNS name, with localhost and 127.0.0.1), signed by `ca`.
CertificateFiles MakeCertificate(const std::string& directory, const std::string& name,
                                 const CertificateFiles& ca);

std::string ReadFile(const std::string& path);

}  // namespace stepback

#include "server/rpc/tls_files.h"

#include <cerrno>
#include <cstring>
#include <memory>

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "absl/status/statusor.h"
#include "server/base/errors.h"
#include "server/base/status_macros.h"

namespace stepback {
namespace {

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Bio = std::unique_ptr<BIO, Deleter<BIO_free>>;
using Certificate = std::unique_ptr<X509, Deleter<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;

absl::Status Bad(const std::string& file, const std::string& what) {
  return Error(absl::StatusCode::kInvalidArgument, "BAD_TLS_FILE", fmt::format("{}: {}", file, what));
}

absl::StatusOr<Bio> Open(const std::string& file) {
  Bio bio(BIO_new_file(file.c_str(), "r"));
  if (bio == nullptr) return Bad(file, std::strerror(errno));
  return bio;
}

absl::StatusOr<Certificate> ReadCertificate(const std::string& file) {
  ASSIGN_OR_RETURN(const Bio bio, Open(file));
  Certificate certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  if (certificate == nullptr) return Bad(file, "holds no PEM certificate");
  return certificate;
}

// An encrypted key cannot be used: there is nobody to ask for its passphrase.
int NoPassphrase(char*, int, int, void*) { return 0; }

absl::StatusOr<Key> ReadKey(const std::string& file) {
  ASSIGN_OR_RETURN(const Bio bio, Open(file));
  Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, &NoPassphrase, nullptr));
  if (key == nullptr) return Bad(file, "holds no PEM private key without a passphrase");
  return key;
}

}  // namespace

absl::Status CheckKeyPair(const std::string& cert_file, const std::string& key_file) {
  ASSIGN_OR_RETURN(const Certificate certificate, ReadCertificate(cert_file));
  ASSIGN_OR_RETURN(const Key key, ReadKey(key_file));
  if (X509_check_private_key(certificate.get(), key.get()) == 1) return absl::OkStatus();
  return Bad(key_file, fmt::format("is not the key of the certificate in {}", cert_file));
}

absl::Status CheckCertificates(const std::string& file) { return ReadCertificate(file).status(); }

}  // namespace stepback

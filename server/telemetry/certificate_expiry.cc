#include "server/telemetry/certificate_expiry.h"

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <ctime>
#include <memory>

#include <fmt/format.h>

namespace stepback::telemetry {

absl::StatusOr<int64_t> CertificateNotAfter(const std::string& pem_file) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> file(BIO_new_file(pem_file.c_str(), "r"), &BIO_free);
  if (file == nullptr)
    return absl::NotFoundError(fmt::format("certificate '{}': cannot be opened", pem_file));
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(
      PEM_read_bio_X509(file.get(), nullptr, nullptr, nullptr), &X509_free);
  std::tm end{};
  if (certificate == nullptr || ASN1_TIME_to_tm(X509_get0_notAfter(certificate.get()), &end) != 1) {
    return absl::InvalidArgumentError(fmt::format("certificate '{}': no PEM certificate in it", pem_file));
  }
  return timegm(&end);
}

}  // namespace stepback::telemetry

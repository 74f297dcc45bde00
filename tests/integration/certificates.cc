#include "tests/integration/certificates.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace stepback {
namespace {

void Must(bool done, const char* what) {
  if (done) return;
  std::fprintf(stderr, "cannot make a certificate: %s\n", what);
  std::abort();
}

void SetName(X509_NAME* name, const std::string& text) {
  Must(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                  reinterpret_cast<const unsigned char*>(text.data()),
                                  static_cast<int>(text.size()), -1, 0) == 1,
       "name");
}

void AddExtension(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
  Must(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1, "extension");
  X509_EXTENSION_free(extension);
}

X509* Unsigned(const std::string& name, EVP_PKEY* key) {
  static long serial = 1;
  X509* const certificate = X509_new();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 86'400);
  X509_set_pubkey(certificate, key);
  SetName(X509_get_subject_name(certificate), name);
  return certificate;
}

CertificateFiles Write(const std::string& directory, const std::string& name, X509* certificate,
                       EVP_PKEY* key) {
  const CertificateFiles files = {directory + "/" + name + ".crt", directory + "/" + name + ".key"};
  std::FILE* out = std::fopen(files.cert_file.c_str(), "w");
  Must(out != nullptr && PEM_write_X509(out, certificate) == 1, "certificate file");
  std::fclose(out);
  out = std::fopen(files.key_file.c_str(), "w");
  Must(out != nullptr && PEM_write_PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr) == 1,
       "key file");
  std::fclose(out);
  return files;
}

}  // namespace

CertificateFiles MakeCa(const std::string& directory, const std::string& name) {
  EVP_PKEY* const key = EVP_EC_gen("P-256");
  X509* const certificate = Unsigned(name, key);
  X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
  AddExtension(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE");
  Must(X509_sign(certificate, key, EVP_sha256()) > 0, "signature");
  const CertificateFiles files = Write(directory, name, certificate, key);
  X509_free(certificate);
  EVP_PKEY_free(key);
  return files;
}

CertificateFiles MakeCertificate(const std::string& directory, const std::string& name,
                                 const CertificateFiles& ca) {
  std::FILE* in = std::fopen(ca.cert_file.c_str(), "r");
  X509* const issuer = PEM_read_X509(in, nullptr, nullptr, nullptr);
  std::fclose(in);
  in = std::fopen(ca.key_file.c_str(), "r");
  EVP_PKEY* const issuer_key = PEM_read_PrivateKey(in, nullptr, nullptr, nullptr);
  std::fclose(in);
  EVP_PKEY* const key = EVP_EC_gen("P-256");
  X509* const certificate = Unsigned(name, key);
  X509_set_issuer_name(certificate, X509_get_subject_name(issuer));
  AddExtension(certificate, issuer, NID_subject_alt_name, "DNS:" + name + ",DNS:localhost,IP:127.0.0.1");
  Must(X509_sign(certificate, issuer_key, EVP_sha256()) > 0, "signature");
  const CertificateFiles files = Write(directory, name, certificate, key);
  for (X509* const used : {certificate, issuer}) X509_free(used);
  for (EVP_PKEY* const used : {key, issuer_key}) EVP_PKEY_free(used);
  return files;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace stepback

#include "server/config/validate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stepback {
namespace {

using ::testing::HasSubstr;

constexpr char kReadable[] = "/proc/self/status";

Config WithTls(const std::string& listen) {
  Config config;
  config.server.listen = listen;
  config.tls.cert_file = config.tls.key_file = config.tls.client_ca_file = kReadable;
  return config;
}

std::string Refusal(const Config& config) {
  const absl::Status status = Validate(config);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

TEST(Validate, TheDefaultsAreValid) { EXPECT_TRUE(Validate({}).ok()); }

TEST(Validate, PlaintextIsForLoopbackOnlyUnlessSaid) {
  Config config;
  for (const char* loopback : {"127.0.0.1:0", "127.9.9.9:1", "[::1]:1", "localhost:1", "unix:/run/s"}) {
    config.server.listen = loopback;
    EXPECT_TRUE(Validate(config).ok()) << loopback;
  }
  for (const char* open : {"0.0.0.0:0", "[::]:1", "10.1.2.3:1", "host.example:1"}) {
    config.server.listen = open;
    config.server.insecure = false;
    EXPECT_THAT(Refusal(config), AllOf(HasSubstr(open), HasSubstr("tls.cert_file"), HasSubstr("--insecure")));
    config.server.insecure = true;
    EXPECT_TRUE(Validate(config).ok()) << open;
  }
}

TEST(Validate, TheHttpAddressIsExemptAsItIsReadOnly) {
  Config config;
  config.server.http_listen = "0.0.0.0:7401";
  EXPECT_TRUE(Validate(config).ok());
}

TEST(Validate, OffLoopbackTlsTakesClientCertificatesUnlessToldNotTo) {
  Config config = WithTls("0.0.0.0:7400");
  EXPECT_TRUE(Validate(config).ok());
  EXPECT_TRUE(RequiresClientCert(config));
  config.tls.client_ca_file.clear();
  EXPECT_THAT(Refusal(config), HasSubstr("tls.client_ca_file"));
  config.tls.require_client_cert = ClientCert::kNo;
  EXPECT_TRUE(Validate(config).ok());
  EXPECT_FALSE(RequiresClientCert(config));
}

TEST(Validate, OnLoopbackClientCertificatesAreAChoice) {
  Config config = WithTls("127.0.0.1:7400");
  EXPECT_FALSE(RequiresClientCert(config));
  config.tls.require_client_cert = ClientCert::kYes;
  EXPECT_TRUE(RequiresClientCert(config));
  config.tls.client_ca_file.clear();
  EXPECT_THAT(Refusal(config), HasSubstr("tls.client_ca_file"));
}

TEST(Validate, CertificateAndKeyComeTogether) {
  Config config = WithTls("127.0.0.1:7400");
  config.tls.key_file.clear();
  EXPECT_THAT(Refusal(config), HasSubstr("tls.cert_file is set but tls.key_file is not"));
  config = WithTls("127.0.0.1:7400");
  config.tls.cert_file.clear();
  EXPECT_THAT(Refusal(config), HasSubstr("tls.key_file is set but tls.cert_file is not"));
}

TEST(Validate, ClientCertificatesWithoutTlsAreRefused) {
  Config config;
  config.tls.require_client_cert = ClientCert::kYes;
  EXPECT_THAT(Refusal(config), HasSubstr("TLS is off"));
  EXPECT_FALSE(RequiresClientCert(config));
  config = {};
  config.tls.client_ca_file = kReadable;
  EXPECT_THAT(Refusal(config), HasSubstr("TLS is off"));
}

TEST(Validate, InsecureAndTlsContradictEachOther) {
  Config config = WithTls("0.0.0.0:7400");
  config.server.insecure = true;
  EXPECT_THAT(Refusal(config), HasSubstr("contradict"));
}

TEST(Validate, FilesThatCannotBeReadAreNamedWithTheirSetting) {
  Config config = WithTls("127.0.0.1:7400");
  config.tls.key_file = "/no/key.pem";
  EXPECT_THAT(Refusal(config),
              AllOf(HasSubstr("tls.key_file"), HasSubstr("/no/key.pem"), HasSubstr("No such file")));
}

TEST(Validate, TheTwoAddressesDiffer) {
  Config config;
  config.server.http_listen = config.server.listen;
  EXPECT_THAT(Refusal(config), HasSubstr("two ports"));
  config.server.listen = config.server.http_listen = "127.0.0.1:0";
  EXPECT_TRUE(Validate(config).ok());
  config.server.http_listen = "";
  EXPECT_TRUE(Validate(config).ok());
}

}  // namespace
}  // namespace stepback

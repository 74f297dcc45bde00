// TLS with and without client certificates, certificates that are renewed under a running server, and files
// that cannot work, which are refused at start instead of at the first handshake.
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "server/base/errors.h"
#include "server/config/validate.h"
#include "server/rpc/credentials.h"
#include "tests/integration/certificates.h"
#include "tests/integration/eventually.h"
#include "tests/integration/temporary_directory.h"
#include "tests/support/grpc_reason.h"
#include "tests/support/raw_call.h"
#include "tests/unit/rpc_fixture.h"

namespace stepback {
namespace {

class Tls : public RpcTest {
 protected:
  void Serve(const CertificateFiles& server, const std::string& client_ca, bool require_client_cert) {
    Config::Tls tls;
    tls.cert_file = server.cert_file;
    tls.key_file = server.key_file;
    tls.client_ca_file = client_ca;
    auto credentials = MakeServerCredentials(tls, require_client_cert, std::chrono::seconds(1));
    ASSERT_TRUE(credentials.ok()) << credentials.status();
    auto started = GrpcServer::Start({.credentials = *credentials}, &context_);
    ASSERT_TRUE(started.ok()) << started.status();
    grpc_ = *std::move(started);
  }
  // What a client that trusts `ca` and shows `own` is told by a call that every caller may make.
  std::string Call(const std::string& ca, const CertificateFiles* own) {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = ReadFile(ca);
    if (own != nullptr) {
      options.pem_cert_chain = ReadFile(own->cert_file);
      options.pem_private_key = ReadFile(own->key_file);
    }
    grpc::ChannelArguments arguments;
    arguments.SetInt("test.channel", ++channels_);  // a connection of its own
    const auto channel = grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(grpc_->port()),
                                                   grpc::SslCredentials(options), arguments);
    v1::PullRequest pull = Pull();
    pull.mutable_since()->set_counter(99);
    pull.mutable_since()->set_term(99);
    return Told(CallUnary(channel, kPullMethod, pull.SerializeAsString()));
  }

  TemporaryDirectory directory_;
  CertificateFiles ca_ = MakeCa(directory_.path(), "ca");
  CertificateFiles other_ca_ = MakeCa(directory_.path(), "other-ca");
  CertificateFiles server_ = MakeCertificate(directory_.path(), "server", ca_);
  CertificateFiles client_ = MakeCertificate(directory_.path(), "client", ca_);
  CertificateFiles stranger_ = MakeCertificate(directory_.path(), "stranger", other_ca_);
  int channels_ = 0;
};

TEST_F(Tls, ServesClientsThatTrustItsCertificate) {
  Serve(server_, "", false);
  EXPECT_EQ(Call(ca_.cert_file, nullptr), "OK");
  EXPECT_EQ(Call(other_ca_.cert_file, nullptr).substr(0, 11), "UNAVAILABLE");
}

TEST_F(Tls, RefusesPlaintext) {
  Serve(server_, "", false);
  const auto channel =
      grpc::CreateChannel("127.0.0.1:" + std::to_string(grpc_->port()), grpc::InsecureChannelCredentials());
  EXPECT_EQ(CallUnary(channel, kPullMethod, Pull().SerializeAsString()).error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST_F(Tls, WantsACertificateOfItsOwnCaWhenItRequiresOne) {
  Serve(server_, ca_.cert_file, true);
  EXPECT_EQ(Call(ca_.cert_file, &client_), "OK");
  EXPECT_EQ(Call(ca_.cert_file, nullptr).substr(0, 11), "UNAVAILABLE");
  EXPECT_EQ(Call(ca_.cert_file, &stranger_).substr(0, 11), "UNAVAILABLE");
}

TEST_F(Tls, TakesClientsWithoutACertificateWhenItOnlyAsksForOne) {
  Serve(server_, ca_.cert_file, false);
  EXPECT_EQ(Call(ca_.cert_file, nullptr), "OK");
  EXPECT_EQ(Call(ca_.cert_file, &client_), "OK");
  EXPECT_EQ(Call(ca_.cert_file, &stranger_).substr(0, 11), "UNAVAILABLE");
}

TEST_F(Tls, UsesARenewedCertificateWithoutARestart) {
  Serve(server_, "", false);
  ASSERT_EQ(Call(ca_.cert_file, nullptr), "OK");
  const CertificateFiles renewed = MakeCertificate(directory_.path(), "renewed", other_ca_);
  std::filesystem::rename(renewed.key_file, server_.key_file);
  std::filesystem::rename(renewed.cert_file, server_.cert_file);
  EXPECT_TRUE(Eventually([&] { return Call(other_ca_.cert_file, nullptr) == "OK"; }));
}

TEST_F(Tls, RefusesFilesThatCannotWork) {
  const auto refused = [&](const std::string& cert, const std::string& key, const std::string& ca) {
    Config::Tls tls;
    tls.cert_file = cert;
    tls.key_file = key;
    tls.client_ca_file = ca;
    return MakeServerCredentials(tls, true).status();
  };
  const std::string empty = directory_ / "empty.pem";
  std::ofstream(empty) << "nothing\n";
  for (const absl::Status& status :
       {refused(directory_ / "missing.crt", server_.key_file, ""), refused(empty, server_.key_file, ""),
        refused(server_.cert_file, empty, ""), refused(server_.cert_file, client_.key_file, ""),
        refused(server_.cert_file, server_.key_file, empty)}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ReasonOf(status), "BAD_TLS_FILE");
    EXPECT_NE(status.message().find(directory_.path()), absl::string_view::npos)
        << status << " names no file";
  }
}

}  // namespace
}  // namespace stepback

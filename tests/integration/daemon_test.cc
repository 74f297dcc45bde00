// stepbackd as a process: what scripts, supervisors and operators meet.
#include <signal.h>

#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/integration/certificates.h"
#include "tests/integration/eventually.h"
#include "tests/integration/process.h"
#include "tests/integration/temporary_directory.h"
#include "tests/integration/test_server.h"
#include "tests/support/grpc_reason.h"
#include "tests/support/raw_call.h"

namespace stepback {
namespace {

class Daemon : public ::testing::Test {
 protected:
  std::unique_ptr<Process> Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), STEPBACKD);
    return std::make_unique<Process>(arguments, log_);
  }
  // A server with a data directory on free ports; returns when it answers.
  std::unique_ptr<Process> Serve(std::vector<std::string> more = {}) {
    const std::string port_file = directory_ / "ports.json";
    std::remove(port_file.c_str());
    std::vector<std::string> arguments = {"--listen=127.0.0.1:0", "--http-listen=127.0.0.1:0",
                                          "--data-dir=" + (directory_ / "data"), "--port-file=" + port_file};
    arguments.insert(arguments.end(), more.begin(), more.end());
    auto process = Run(arguments);
    EXPECT_TRUE(Eventually([&] { return std::ifstream(port_file).good() || process->Poll(); }));
    EXPECT_FALSE(process->Poll()) << Log();
    const auto ports = nlohmann::json::parse(ReadFile(port_file), nullptr, false);
    address_ = "127.0.0.1:" + std::to_string(ports.value("grpc", 0));
    channel_ = grpc::CreateChannel(address_, grpc::InsecureChannelCredentials());
    return process;
  }
  std::string Log() const { return ReadFile(log_); }

  std::string CreateModel(const std::string& name, const Floats& weights,
                          v1::Durability durability = v1::DURABILITY_ROUND) {
    RawCall call(channel_, "/stepback.v1.ModelService/CreateModel");
    v1::CreateModelRequest header;
    *header.mutable_header()->mutable_spec() = DeltaSpec(name, {weights.size()});
    header.mutable_header()->mutable_spec()->set_durability(durability);
    header.mutable_header()->set_total_bytes(weights.size() * sizeof(float));
    call.Write(header);
    for (const auto& chunk : ChunksOf<v1::CreateModelRequest>(BytesOf(weights), 1 << 20)) call.Write(chunk);
    call.WritesDone();
    return Told(call.Finish());
  }
  std::string Push(const std::string& model, uint64_t sequence, const Floats& delta, uint64_t counter) {
    v1::OpenSessionRequest open;
    open.set_model(model);
    open.set_client_id("worker-0");
    open.set_protocol_version(1);
    std::string bytes;
    v1::OpenSessionResponse session;
    const grpc::Status opened =
        CallUnary(channel_, "/stepback.v1.TrainingService/OpenSession", open.SerializeAsString(), &bytes);
    if (!opened.ok()) return Told(opened);
    session.ParseFromString(bytes);
    RawCall call(channel_, "/stepback.v1.TrainingService/Push");
    v1::PushRequest header;
    v1::PushHeader& push = *header.mutable_header();
    push.set_model(model);
    push.set_client_id("worker-0");
    push.set_epoch(session.epoch());
    push.set_sequence(sequence);
    push.set_kind(v1::PUSH_KIND_DELTA);
    push.mutable_base()->set_term(1);
    push.mutable_base()->set_counter(counter);
    push.set_total_bytes(delta.size() * sizeof(float));
    call.Write(header);
    for (const auto& chunk : ChunksOf<v1::PushRequest>(BytesOf(delta), 1 << 20)) call.Write(chunk);
    call.WritesDone();
    return Told(call.Finish());
  }
  v1::Model Model(const std::string& name) {
    v1::GetModelRequest request;
    request.set_name(name);
    request.set_state_hash(true);
    std::string bytes;
    v1::GetModelResponse response;
    const grpc::Status status =
        CallUnary(channel_, "/stepback.v1.ModelService/GetModel", request.SerializeAsString(), &bytes);
    EXPECT_EQ(Told(status), "OK") << status.error_message();
    response.ParseFromString(bytes);
    return response.model();
  }

  TemporaryDirectory directory_;
  std::string log_ = directory_ / "log";
  std::string address_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(Daemon, SigtermWritesASnapshotEndsWithZeroAndTheNextOneGoesOn) {
  auto first = Serve();
  ASSERT_EQ(CreateModel("m", {1, 2, 3, 4}), "OK");
  ASSERT_EQ(Push("m", 1, {0.5, 0.5, 0.5, 0.5}, 0), "OK");
  ASSERT_EQ(Model("m").version().counter(), 1u);
  first->Signal(SIGTERM);
  EXPECT_EQ(first->Wait(), 0) << Log();
  EXPECT_NE(Log().find("server_draining"), std::string::npos);
  EXPECT_NE(Log().find("server_stopped drained=true"), std::string::npos) << Log();

  auto second = Serve();
  const v1::Model recovered = Model("m");
  EXPECT_EQ(recovered.version().counter(), 1u);
  EXPECT_GT(recovered.version().term(), 1u);
  EXPECT_EQ(recovered.durable_version().counter(), 1u);
  EXPECT_EQ(Push("m", 1, {0.5, 0.5, 0.5, 0.5}, 0), "OK") << "a repeated push is recognised after the restart";
  EXPECT_EQ(Model("m").version().counter(), 1u);
  EXPECT_EQ(Push("m", 2, {0.5, 0.5, 0.5, 0.5}, 1), "OK");
  EXPECT_EQ(Model("m").version().counter(), 2u);
  second->Signal(SIGINT);
  EXPECT_EQ(second->Wait(), 0) << Log();
}

// The client keeps nothing of what was acknowledged, so nobody can send it again.
TEST_F(Daemon, KillNineLosesNoAcknowledgedPushOfAModelWithALog) {
  auto server = Serve();
  ASSERT_EQ(CreateModel("m", {1, 2, 3, 4}, v1::DURABILITY_PUSH), "OK");
  uint64_t acknowledged = 0;
  for (int kills = 0; kills < 4; ++kills) {
    for (int pushes = 0; pushes < 3; ++pushes, ++acknowledged)
      ASSERT_EQ(Push("m", acknowledged + 1, {0.5, 0.25, 0.125, 1}, acknowledged), "OK") << Log();
    const v1::Model before = Model("m");
    EXPECT_EQ(before.durable_version().counter(), acknowledged);
    server->Signal(SIGKILL);
    EXPECT_EQ(server->Wait(), 128 + SIGKILL);
    server = Serve();
    const v1::Model after = Model("m");
    EXPECT_EQ(after.version().counter(), acknowledged) << Log();
    EXPECT_EQ(after.outer_steps(), before.outer_steps());
    EXPECT_GT(after.version().term(), before.version().term());
  }
}

TEST_F(Daemon, ASecondOneOnThePortEndsWithThreeAndSaysWhy) {
  auto first = Serve();
  auto second = Run({"--listen=" + address_, "--http-listen=127.0.0.1:0"});
  EXPECT_EQ(second->Wait(), 3);
  EXPECT_NE(Log().find("cannot listen on " + address_ + ": Address already in use"), std::string::npos)
      << Log();
  EXPECT_FALSE(first->Poll());
}

TEST_F(Daemon, ASecondOneOnTheDataDirectoryDoesNotStart) {
  auto first = Serve();
  auto second =
      Run({"--listen=127.0.0.1:0", "--http-listen=127.0.0.1:0", "--data-dir=" + (directory_ / "data")});
  EXPECT_EQ(second->Wait(), 1) << Log();
  EXPECT_NE(Log().find("start_failed"), std::string::npos);
}

TEST_F(Daemon, WrongUseEndsWithTwo) {
  EXPECT_EQ(Run({"--no-such-flag"})->Wait(), 2);
  EXPECT_EQ(Run({"--listen=0.0.0.0:0", "--http-listen=127.0.0.1:0"})->Wait(), 2) << "plaintext off loopback";
  EXPECT_NE(Log().find("insecure"), std::string::npos) << Log();
}

TEST_F(Daemon, ServesPlaintextOffLoopbackWhenToldTo) {
  auto process = Serve({"--listen=0.0.0.0:0", "--insecure"});
  EXPECT_TRUE(CallUnary(channel_, "/stepback.v1.AdminService/GetServerInfo", "").ok());
}

TEST_F(Daemon, PrintsItsVersionAndItsConfiguration) {
  EXPECT_EQ(Run({"--version"})->Wait(), 0);
  EXPECT_EQ(Log().substr(0, 10), "stepbackd ");
  EXPECT_EQ(Run({"config", "print"})->Wait(), 0);
  EXPECT_NE(Log().find("127.0.0.1:7400"), std::string::npos) << Log();
  EXPECT_EQ(Run({"config", "validate"})->Wait(), 0);
}

TEST_F(Daemon, LeavesAPeersBadBytesOutOfItsLog) {
  auto process = Serve();
  std::string reply;
  const grpc::Status status =
      CallUnary(channel_, "/stepback.v1.ModelService/GetModel", "\x0a\x02\xff\xfe", &reply);
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(Log().find("protobuf"), std::string::npos) << Log();
}

TEST_F(Daemon, GoesOnAfterSighup) {
  auto process = Serve();
  process->Signal(SIGHUP);
  EXPECT_TRUE(Eventually([&] { return Log().find("reload") != std::string::npos; }));
  EXPECT_TRUE(CallUnary(channel_, "/stepback.v1.AdminService/GetServerInfo", "").ok());
}

TEST_F(Daemon, ServesTls) {
  const CertificateFiles ca = MakeCa(directory_.path(), "ca");
  const CertificateFiles own = MakeCertificate(directory_.path(), "server", ca);
  auto process = Serve({"--tls-cert-file=" + own.cert_file, "--tls-key-file=" + own.key_file});
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = ReadFile(ca.cert_file);
  const auto channel = grpc::CreateChannel(address_, grpc::SslCredentials(options));
  EXPECT_TRUE(CallUnary(channel, "/stepback.v1.AdminService/GetServerInfo", "").ok()) << Log();
}

}  // namespace
}  // namespace stepback

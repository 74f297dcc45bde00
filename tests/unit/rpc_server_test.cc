#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "google/protobuf/descriptor.pb.h"
#include "grpc/health/v1/health.pb.h"
#include "server/base/errors.h"
#include "server/rpc/method_table.h"
#include "stepback/v1/admin.pb.h"
#include "stepback/v1/model.grpc.pb.h"
#include "tests/unit/rpc_fixture.h"

namespace stepback {
namespace {

using GrpcServerTest = RpcTest;

std::string PathOf(const MethodInfo& method) { return fmt::format("/{}/{}", method.service, method.name); }

bool TakesOneRequest(const MethodInfo& method) {
  return method.type == telemetry::RpcType::kUnary || method.type == telemetry::RpcType::kServerStream;
}

TEST_F(GrpcServerTest, EveryMethodAnswersBytesThatAreNoMessageWithADocumentedStatus) {
  for (const MethodInfo& method : kMethods) {
    EXPECT_EQ(Told(CallUnary(channel_, PathOf(method), "\x0a\xff\xff")), "INVALID_ARGUMENT MALFORMED_MESSAGE")
        << method.name;
  }
}

TEST_F(GrpcServerTest, EveryMethodAnswersACallWithoutAMessageWithADocumentedStatus) {
  for (const MethodInfo& method : kMethods) {
    RawCall call(channel_, PathOf(method));
    call.WritesDone();
    const std::string expected =
        TakesOneRequest(method) ? "INVALID_ARGUMENT MALFORMED_MESSAGE" : "INVALID_ARGUMENT HEADER_EXPECTED";
    EXPECT_EQ(Told(call.Finish()), expected) << method.name;
  }
}

TEST_F(GrpcServerTest, EveryMethodRefusesACallerWithoutItsRole) {
  role_of_ = [](const grpc::AuthContext&) { return AccessRole::kReader; };
  StartServer();
  for (size_t i = 0; i < kMethodCount; ++i) {
    const std::string told = Told(CallUnary(channel_, PathOf(kMethods[i]), ""));
    if (kAccess[i].role == AccessRole::kReader) {
      EXPECT_NE(told, "PERMISSION_DENIED ROLE_REQUIRED") << kMethods[i].name;
    } else {
      EXPECT_EQ(told, "PERMISSION_DENIED ROLE_REQUIRED") << kMethods[i].name;
    }
  }
}

TEST_F(GrpcServerTest, RefusesNewWorkWhileItDrainsAndGoesOnServingReads) {
  EXPECT_EQ(Told(CallUnary(channel_, "/stepback.v1.AdminService/Drain", "")), "OK");
  for (size_t i = 0; i < kMethodCount; ++i) {
    const std::string told = Told(CallUnary(channel_, PathOf(kMethods[i]), "\x0a\xff\xff"));
    const bool refused = kAccess[i].draining == WhenDraining::kRefused;
    EXPECT_EQ(told, refused ? "UNAVAILABLE DRAINING" : "INVALID_ARGUMENT MALFORMED_MESSAGE")
        << kMethods[i].name;
  }
}

TEST_F(GrpcServerTest, HasASeriesForEveryMethodFromTheStart) {
  const std::string page = metrics_.Scrape();
  for (const MethodInfo& method : kMethods) {
    const std::string labels =
        fmt::format("grpc_service=\"{}\",grpc_method=\"{}\"}} 0", method.service, method.name);
    EXPECT_NE(page.find(labels), std::string::npos) << labels;
  }
}

TEST_F(GrpcServerTest, CountsCallsByTheirCode) {
  CallUnary(channel_, "/stepback.v1.ModelService/Flush", "\x0a\xff\xff");
  EXPECT_NE(metrics_.Scrape().find(R"(grpc_method="Flush",grpc_code="InvalidArgument"} 1)"),
            std::string::npos);
  CallUnary(channel_, "/stepback.v1.AdminService/Drain", "");
  CallUnary(channel_, kPushMethod, "");
  EXPECT_NE(metrics_.Scrape().find(R"(stepback_rejected_total{reason="draining"} 1)"), std::string::npos);
}

TEST_F(GrpcServerTest, LeavesUnknownMethodsToTheTransport) {
  EXPECT_EQ(CallUnary(channel_, "/stepback.v1.ModelService/NoSuch", "").error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(GrpcServerTest, ASecondServerOnThePortFailsAndSaysWhy) {
  const std::string address = "127.0.0.1:" + std::to_string(grpc_->port());
  const auto second =
      GrpcServer::Start({.address = address, .credentials = grpc::InsecureServerCredentials()}, &context_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(second.status()), "BIND_FAILED");
  EXPECT_NE(second.status().message().find(address), absl::string_view::npos) << second.status();
  EXPECT_NE(second.status().message().find("Address already in use"), absl::string_view::npos)
      << second.status();
  EXPECT_EQ(Told(CallUnary(channel_, "/stepback.v1.AdminService/GetServerInfo", "\x0a\xff\xff")),
            "INVALID_ARGUMENT MALFORMED_MESSAGE")
      << "the first one goes on";
}

TEST_F(GrpcServerTest, AnswersHealthForTheServerAndEveryService) {
  const auto health = [this](const std::string& service) {
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    grpc::health::v1::HealthCheckResponse response;
    std::string bytes;
    const grpc::Status status =
        CallUnary(channel_, "/grpc.health.v1.Health/Check", request.SerializeAsString(), &bytes);
    EXPECT_TRUE(status.ok() && response.ParseFromString(bytes)) << service << " " << status.error_message();
    return response.status();
  };
  for (const std::string service :
       {"", "stepback.v1.ModelService", "stepback.v1.TrainingService", "stepback.v1.AdminService"}) {
    EXPECT_EQ(health(service), grpc::health::v1::HealthCheckResponse::SERVING) << service;
    grpc_->SetServing(false);
    EXPECT_EQ(health(service), grpc::health::v1::HealthCheckResponse::NOT_SERVING) << service;
    grpc_->SetServing(true);
  }
}

// The reflection protocol by hand (grpc.reflection.v1alpha): its messages are not ours to generate.
std::string Ask(RawCall* call, int field, const std::string& value) {
  std::string request;
  request += static_cast<char>(field << 3 | 2);
  request += static_cast<char>(value.size());
  request += value;
  EXPECT_TRUE(call->Write(request));
  return call->Read().value_or("");
}

TEST_F(GrpcServerTest, ReflectionResolvesEveryServiceThatItLists) {
  RawCall call(channel_, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo");
  const std::string list = Ask(&call, 7, "*");
  for (const std::string service : {"stepback.v1.ModelService", "stepback.v1.TrainingService",
                                    "stepback.v1.AdminService", "grpc.health.v1.Health"}) {
    EXPECT_NE(list.find(service), std::string::npos) << service;
    const std::string file = Ask(&call, 4, service);  // file_containing_symbol
    EXPECT_NE(file.find(service.substr(0, service.rfind('.'))), std::string::npos)
        << service << " is not resolved";
    EXPECT_EQ(file.find("not found"), std::string::npos) << service;
  }
  call.WritesDone();
  EXPECT_TRUE(call.Finish().ok());
}

TEST_F(GrpcServerTest, ServesStubsGeneratedFromTheProto) {
  const auto stub = v1::ModelService::NewStub(channel_);
  grpc::ClientContext context;
  v1::GetModelRequest request;
  request.set_name("m");
  request.set_state_hash(true);
  v1::GetModelResponse response;
  const grpc::Status status = stub->GetModel(&context, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.model().spec().name(), "m");
  EXPECT_EQ(response.model().parameters(), kElements);
  EXPECT_EQ(response.model().state_hash(), "fake");
  EXPECT_EQ(response.model().spec().tensors_size(), 1);
}

TEST_F(GrpcServerTest, ExportsWhatItImports) {
  std::vector<float> weights(kElements);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = 0.25f * static_cast<float>(i % 1000);
  model().Publish(weights);
  const auto stub = v1::ModelService::NewStub(channel_);
  std::string file;
  {
    grpc::ClientContext context;
    v1::ExportModelRequest request;
    request.set_model("m");
    const auto reader = stub->ExportModel(&context, request);
    v1::ExportModelResponse response;
    while (reader->Read(&response)) {
      EXPECT_EQ(response.chunk().offset(), file.size());
      EXPECT_EQ(response.chunk().crc32c(),
                Crc32c(response.chunk().data().data(), response.chunk().data().size()));
      file += response.chunk().data();
    }
    EXPECT_TRUE(reader->Finish().ok());
    EXPECT_EQ(response.version().counter(), 1u) << "the last message names the version";
    EXPECT_EQ(response.total_bytes(), file.size());
  }
  model().Publish(std::vector<float>(kElements, 0));
  grpc::ClientContext context;
  v1::ImportModelResponse response;
  const auto writer = stub->ImportModel(&context, &response);
  v1::ImportModelRequest header;
  header.mutable_header()->set_model("m");
  header.mutable_header()->set_total_bytes(file.size());
  ASSERT_TRUE(writer->Write(header));
  for (size_t begin = 0; begin < file.size(); begin += 1'000'000) {
    ASSERT_TRUE(writer->Write(Chunk<v1::ImportModelRequest>(begin, file.substr(begin, 1'000'000))));
  }
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.model().version().counter(), 3u);
  const auto reader = *model().Read(model().Pin(), {.chunk_bytes = 4 * kElements});
  const auto chunk = *reader->Chunk(0);
  EXPECT_EQ(std::memcmp(chunk.data.view().spans()[0].data, weights.data(), 4 * kElements), 0);
}

TEST_F(GrpcServerTest, RefusesAFileThatIsNotWholeOrNotTheModels) {
  const auto import = [this](uint64_t total_bytes,
                             const std::vector<std::pair<uint64_t, std::string>>& chunks) {
    RawCall call(channel_, "/stepback.v1.ModelService/ImportModel");
    v1::ImportModelRequest header;
    header.mutable_header()->set_model("m");
    header.mutable_header()->set_total_bytes(total_bytes);
    call.Write(header);
    for (const auto& [offset, data] : chunks) {
      if (!call.Write(Chunk<v1::ImportModelRequest>(offset, data))) break;
    }
    call.WritesDone();
    return Told(call.Finish());
  };
  EXPECT_EQ(import(uint64_t{1} << 63, {}), "INVALID_ARGUMENT TOO_MANY_BYTES");
  EXPECT_EQ(import(100, {}), "INVALID_ARGUMENT SIZE_MISMATCH");
  EXPECT_EQ(import(100, {{4, "abcd"}}), "INVALID_ARGUMENT BAD_OFFSET");
  EXPECT_EQ(import(3, {{0, "abcd"}}), "INVALID_ARGUMENT TOO_MANY_BYTES");
  EXPECT_EQ(import(8, {{0, std::string("\xff\xff\xff\xff\xff\xff\xff\xff", 8)}}),
            "INVALID_ARGUMENT BAD_FILE");
  EXPECT_EQ(model().version().counter, 0u);
}

}  // namespace
}  // namespace stepback

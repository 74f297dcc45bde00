// Any call of any method with messages that the test makes byte by byte, one operation at a time. Also what a
// client in a language without our stubs does.
//
//   RawCall call(channel, "/stepback.v1.TrainingService/Push");
//   call.Write(header); call.Write(garbage); call.WritesDone();
//   EXPECT_EQ(call.Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include <google/protobuf/message_lite.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include "tests/support/slices.h"

namespace stepback {

class RawCall {
 public:
  RawCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
          std::chrono::seconds deadline = std::chrono::seconds(30))
      : stub_(channel) {
    context_.set_deadline(std::chrono::system_clock::now() + deadline);
    call_ = stub_.PrepareCall(&context_, method, &queue_);
    call_->StartCall(this);
    Wait();
  }
  ~RawCall() {
    if (!finished_) {
      context_.TryCancel();
      Finish();
    }
    queue_.Shutdown();
    void* tag;
    bool ok;
    while (queue_.Next(&tag, &ok)) {
    }
  }

  // False: the call is over; Finish tells why.
  bool Write(const grpc::ByteBuffer& message) {
    call_->Write(message, this);
    return Wait();
  }
  bool Write(const std::string& bytes) { return Write(OneSlice(bytes)); }
  bool Write(const google::protobuf::MessageLite& message) { return Write(message.SerializeAsString()); }
  void WritesDone() {
    call_->WritesDone(this);
    Wait();
  }
  // Nothing: the server sends no more.
  std::optional<std::string> Read() {
    grpc::ByteBuffer message;
    call_->Read(&message, this);
    if (!Wait()) return std::nullopt;
    return BytesIn(message);
  }
  template <typename Message>
  std::optional<Message> ReadAs() {
    const std::optional<std::string> bytes = Read();
    Message message;
    if (!bytes || !message.ParseFromString(*bytes)) return std::nullopt;
    return message;
  }
  // The status; messages that were not read are thrown away, because it comes after them.
  grpc::Status Finish() {
    while (Read()) {
    }
    call_->Finish(&status_, this);
    Wait();
    finished_ = true;
    return status_;
  }
  void Cancel() { context_.TryCancel(); }

 private:
  bool Wait() {
    void* tag;
    bool ok = false;
    queue_.Next(&tag, &ok);
    return ok;
  }

  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
  grpc::Status status_;
  bool finished_ = false;
};

// One request, one answer.
inline grpc::Status CallUnary(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                              const std::string& request, std::string* response = nullptr) {
  RawCall call(channel, method);
  call.Write(request);
  call.WritesDone();
  const std::optional<std::string> answer = call.Read();
  if (answer && response != nullptr) *response = *answer;  // of several: the first
  return call.Finish();
}

}  // namespace stepback

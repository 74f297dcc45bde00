#include "server/rpc/message.h"

#include <fmt/format.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include "server/base/errors.h"

namespace stepback {
namespace {

absl::Status Malformed(size_t bytes, const google::protobuf::MessageLite& message) {
  return Error(absl::StatusCode::kInvalidArgument, "MALFORMED_MESSAGE",
               fmt::format("{} bytes are no {} message", bytes, message.GetTypeName()));
}

}  // namespace

absl::Status ParseMessage(const grpc::ByteBuffer& buffer, google::protobuf::MessageLite* message) {
  if (!buffer.Valid()) return Malformed(0, *message);
  grpc::ProtoBufferReader reader(const_cast<grpc::ByteBuffer*>(&buffer));
  if (!reader.status().ok() || !message->ParseFromZeroCopyStream(&reader))
    return Malformed(buffer.Length(), *message);
  return absl::OkStatus();
}

absl::Status ParseMessage(const std::string& bytes, google::protobuf::MessageLite* message) {
  if (!message->ParseFromString(bytes)) return Malformed(bytes.size(), *message);
  return absl::OkStatus();
}

grpc::ByteBuffer SerializeMessage(const google::protobuf::MessageLite& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace stepback

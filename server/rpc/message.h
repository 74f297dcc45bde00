// Whole protobuf messages from and to the raw buffers of the transport (every method is registered raw,
// decisions 16). Thread: any; pure.
#pragma once

#include <string>

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>

#include "absl/status/status.h"

namespace stepback {

// INVALID_ARGUMENT(MALFORMED_MESSAGE) naming the message's type.
absl::Status ParseMessage(const grpc::ByteBuffer& buffer, google::protobuf::MessageLite* message);
absl::Status ParseMessage(const std::string& bytes, google::protobuf::MessageLite* message);
grpc::ByteBuffer SerializeMessage(const google::protobuf::MessageLite& message);

}  // namespace stepback

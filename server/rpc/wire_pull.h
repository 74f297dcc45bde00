// Messages of the server streams, written by hand around payloads that are sent from where they lie: a short
// prefix in one slice, then slices that point into the version's own buffers and keep them alive until the
// transport is done with them. The bytes are exactly what protobuf would write.
//
// Thread: any; pure.
//
//   grpc::ByteBuffer message = EncodeChunkMessage(3, chunk.offset, chunk.crc32c, std::move(chunk.data));
//   grpc::ByteBuffer header = EncodeMessageField(2, pull_header);   // PullResponse{header}
#pragma once

#include <cstdint>
#include <string>

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>

#include "server/base/payload.h"

namespace stepback {

// A message whose field `field` is a Chunk; `suffix`: serialised fields with higher numbers.
grpc::ByteBuffer EncodeChunkMessage(int field, uint64_t offset, uint32_t crc32c, Payload data,
                                    const std::string& suffix = "");
// A message whose only field is `inner` at number `field`.
grpc::ByteBuffer EncodeMessageField(int field, const google::protobuf::MessageLite& inner);

}  // namespace stepback

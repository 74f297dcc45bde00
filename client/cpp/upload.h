// Feeds one upload into a stream: the header, then a chunk each time the transport takes one.
//
//   Upload upload(stream.get(), header_bytes, kChunkField, &source, 0, chunk_bytes);
//   upload.Start();
//   ... on Event::kWritten: upload.Continue() ...
#pragma once

#include <string>

#include "absl/status/status.h"
#include "client/cpp/chunk_source.h"
#include "client/cpp/transport.h"

namespace stepback::client {

class Upload {
 public:
  // `header`: the serialised first message. `chunk_field`: number of `chunk` in the stream's message.
  Upload(Stream* stream, std::string header, uint32_t chunk_field, ChunkSource* source,
         uint64_t resume_offset, uint64_t chunk_bytes);

  void Start();
  // The last write was taken. An error: the source failed, the call is to be given up.
  absl::Status Continue();
  // The answer is there: nothing more is sent.
  void Stop() { stopped_ = true; }
  // Everything is on its way.
  bool done() const { return half_closed_; }
  uint64_t payload_bytes() const { return payload_bytes_; }  // sent by this stream
  uint64_t wire_bytes() const { return wire_bytes_; }

 private:
  void Send(OutMessage message, bool last);

  Stream* const stream_;
  std::string header_;
  const uint32_t chunk_field_;
  ChunkSource* const source_;
  uint64_t offset_;
  const uint64_t chunk_bytes_;
  bool stopped_ = false;
  bool half_closed_ = false;
  uint64_t payload_bytes_ = 0;
  uint64_t wire_bytes_ = 0;
};

// gRPC puts 5 bytes before every message.
inline constexpr uint64_t kMessageFrameBytes = 5;

}  // namespace stepback::client

// A server's message, as the client reads it.
#include <google/protobuf/stubs/logging.h>

#include "client/cpp/message.h"
#include "stepback/v1/training.pb.h"
#include "tests/fuzz/input.h"

using namespace stepback;  // NOLINT

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static google::protobuf::LogSilencer silencer;  // a line of text takes longer than the rest
  fuzz::Input input(data, size);
  const size_t cut = 1 + input.Byte() % 32;
  const auto bytes = std::make_shared<const std::string>(input.Rest());
  Payload payload;
  for (size_t at = 0; at < bytes->size(); at += cut)
    payload.Append(
        {reinterpret_cast<const std::byte*>(bytes->data()) + at, std::min(cut, bytes->size() - at)}, bytes);
  client::ReceivedChunk chunk;
  const absl::StatusOr<bool> is_chunk = client::DecodeChunk(payload, 3, &chunk);
  if (is_chunk.ok() && *is_chunk) FUZZ_CHECK(chunk.data.size() <= bytes->size(), "more data than came");
  v1::PullResponse response;
  client::ParseMessage(payload, &response).IgnoreError();
  return 0;
}

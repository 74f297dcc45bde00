// A message of a client stream, in slices cut anywhere, beside what protobuf makes of the same bytes.
#include <grpcpp/support/byte_buffer.h>

#include "server/rpc/wire_push.h"
#include "stepback/v1/training.pb.h"
#include "tests/fuzz/input.h"

using namespace stepback;  // NOLINT

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const size_t cut = 1 + input.Byte() % 32;
  std::string all;
  std::vector<grpc::Slice> slices;
  while (!input.empty()) {
    const std::string bytes = input.Bytes(cut);
    slices.emplace_back(bytes);
    all += bytes;
  }
  const grpc::ByteBuffer buffer(slices.data(), slices.size());
  const absl::StatusOr<StreamMessage> message = ParseStreamMessage(buffer);
  if (!message.ok() || message->kind != StreamMessage::Kind::kChunk) return 0;
  v1::PushRequest reference;
  FUZZ_CHECK(reference.ParseFromString(all), "taken by hand, refused by protobuf");
  FUZZ_CHECK(reference.chunk().offset() == message->chunk.offset &&
                 reference.chunk().crc32c() == message->chunk.crc32c &&
                 reference.chunk().data().size() == message->chunk.data.size(),
             "another chunk than protobuf's");
  return 0;
}

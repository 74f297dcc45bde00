// A message of a client stream, in slices cut anywhere, beside what protobuf makes of the same bytes.
#include <google/protobuf/empty.pb.h>
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/unknown_field_set.h>
#include <grpcpp/support/byte_buffer.h>

#include "server/rpc/wire_push.h"
#include "stepback/v1/training.pb.h"
#include "tests/fuzz/input.h"

using namespace stepback;  // NOLINT

namespace {

// Whether the message has a header too. A chunk behind it takes its place, and then nobody reads the header,
// sound or not: what it is depends on the stream.
bool HasHeader(const std::string& message) {
  google::protobuf::Empty fields;
  FUZZ_CHECK(fields.ParseFromString(message), "no protobuf message at all");
  const google::protobuf::UnknownFieldSet& all = fields.GetReflection()->GetUnknownFields(fields);
  for (int i = 0; i < all.field_count(); ++i) {
    if (all.field(i).number() == v1::PushRequest::kHeaderFieldNumber) return true;
  }
  return false;
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static google::protobuf::LogSilencer silencer;  // a line of text takes longer than the rest
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
  if (!reference.ParseFromString(all)) {
    FUZZ_CHECK(HasHeader(all), "taken by hand, refused by protobuf");
    return 0;
  }
  FUZZ_CHECK(reference.chunk().offset() == message->chunk.offset &&
                 reference.chunk().crc32c() == message->chunk.crc32c &&
                 reference.chunk().data().size() == message->chunk.data.size(),
             "another chunk than protobuf's");
  return 0;
}

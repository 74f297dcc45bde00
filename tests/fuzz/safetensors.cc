// A safetensors file in pieces, cut anywhere.
#include "server/store/safetensors_reader.h"
#include "tests/fuzz/input.h"

using namespace stepback;  // NOLINT

namespace {

struct CountingSink : SafetensorsReader::Sink {
  absl::Status OnHeader(const SafetensorsHeader& header) override {
    for (const SafetensorsTensor& tensor : header.tensors)
      FUZZ_CHECK(tensor.begin <= tensor.end, tensor.name);
    expected = header.data_bytes;
    return absl::OkStatus();
  }
  absl::Status OnData(const SafetensorsTensor& tensor, uint64_t offset,
                      std::span<const std::byte> bytes) override {
    FUZZ_CHECK(offset + bytes.size() <= tensor.bytes(), tensor.name);
    received += bytes.size();
    return absl::OkStatus();
  }
  uint64_t expected = 0, received = 0;
};

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const size_t piece = 1 + input.Byte() % 64;
  CountingSink sink;
  SafetensorsReader reader(&sink, {.header_bytes_max = 1 << 20});
  while (!input.empty()) {
    const std::string bytes = input.Bytes(piece);
    if (!reader.Feed(std::as_bytes(std::span(bytes))).ok()) break;
  }
  if (reader.Finish().ok()) FUZZ_CHECK(sink.received == sink.expected, "data is missing");
  return 0;
}

// Every codec on any payload: what all_finite lets through decodes to finite numbers, and nothing is read or
// written outside.
#include <cmath>
#include <vector>

#include "kernels/codec_info.h"
#include "tests/fuzz/input.h"

using namespace stepback;  // NOLINT

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const std::span<const kernels::CodecInfo> codecs = kernels::Codecs();
  const kernels::CodecInfo& codec = codecs[input.Byte() % codecs.size()];
  const uint64_t word = input.Word();  // seldom more than one of the largest blocks: they take their time
  const uint64_t elements = 1 + word / 8 % (word % 8 == 0 ? 5000 : 600);
  const std::string payload = input.Rest();
  std::vector<std::byte> bytes(codec.encoded_bytes(elements));  // exactly: one byte more is a report
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = payload.empty() ? std::byte{0} : static_cast<std::byte>(payload[i % payload.size()]);
  const bool finite = codec.all_finite(bytes.data(), elements);
  std::vector<float> values(elements);
  codec.decode(bytes.data(), elements, values.data());
  if (!finite) return 0;
  for (const float value : values) FUZZ_CHECK(std::isfinite(value), std::string(codec.name));
  std::vector<std::byte> again(bytes.size());
  codec.encode(values.data(), elements, again.data());
  return 0;
}

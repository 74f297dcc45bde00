// Chunks with any offset, size and checksum for one part of a push, and uploads that take each other over.
#include "server/base/crc32c.h"
#include "server/base/pool.h"
#include "server/engine/staged_part.h"
#include "tests/fuzz/input.h"

using namespace stepback;  // NOLINT

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static BufferPool pool;
  static telemetry::Metrics metrics;
  fuzz::Input input(data, size);
  const uint64_t elements = 1 + input.Word() % 300;
  const std::span<const kernels::CodecInfo> codecs = kernels::Codecs();
  const absl::StatusOr<std::shared_ptr<const Layout>> layout =
      Layout::Make({{.name = "a", .shape = {elements}},
                    {.name = "b", .shape = {7}, .dtype = DataType::kI64, .role = Role::kCarried}});
  const auto wire =
      WireLayout::Make(**layout, codecs[input.Byte() % codecs.size()], Direction::kPush, {}, {});
  FUZZ_CHECK(wire.ok(), wire.status().ToString());
  StagedPart part(std::make_shared<const WireLayout>(*wire), &pool, &metrics);
  uint64_t owner = 0;
  while (!input.empty()) {
    const uint8_t choice = input.Byte();
    if (choice % 8 == 0) {
      part.TakeOver(++owner, choice % 16 == 0 ? part.received() : input.Word()).IgnoreError();
      continue;
    }
    const uint64_t offset = choice % 8 == 1 ? input.Number() : part.received();
    auto bytes = std::make_shared<const std::string>(input.Bytes(1 + input.Byte()));
    const uint32_t crc =
        choice % 8 == 2 ? static_cast<uint32_t>(input.Number()) : Crc32c(bytes->data(), bytes->size());
    Payload payload;
    if (!bytes->empty())
      payload.Append({reinterpret_cast<const std::byte*>(bytes->data()), bytes->size()}, bytes);
    part.Add(choice % 8 == 3 ? owner - 1 : owner, offset, crc, std::move(payload)).IgnoreError();
    FUZZ_CHECK(part.received() <= wire->total_bytes(), "more than the part holds");
  }
  return 0;
}

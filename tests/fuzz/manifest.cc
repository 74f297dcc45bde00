// The manifest of a snapshot: as it lies on disk, or a body in a frame that is sound, past the checksums.
#include "server/store/manifest.h"

#include "server/base/crc32c.h"
#include "server/store/snapshot_format.h"
#include "tests/fuzz/input.h"

using namespace stepback;  // NOLINT

namespace {

std::string Framed(const std::string& body) {
  std::string file(kManifestMagic, sizeof kManifestMagic);
  const auto put = [&](auto value) { file.append(reinterpret_cast<const char*>(&value), sizeof value); };
  put(kFormatVersion);
  put(uint32_t{0});
  put(uint64_t{body.size()});
  put(Crc32c(file.data(), file.size()));
  put(Crc32c(body.data(), body.size()));
  return file + body;
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const bool framed = input.Byte() % 2 == 0;
  const std::string bytes = input.Rest();
  const absl::StatusOr<Manifest> manifest = DecodeManifest(framed ? Framed(bytes) : bytes);
  if (!manifest.ok()) return 0;
  const absl::StatusOr<Manifest> again = DecodeManifest(EncodeManifest(*manifest));
  FUZZ_CHECK(again.ok(), again.status().ToString());
  FUZZ_CHECK(again->files == manifest->files, "a manifest changes when it is written again");
  return 0;
}

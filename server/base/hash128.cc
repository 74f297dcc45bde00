#include "server/base/hash128.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace stepback {

struct Hash128::State {
  XXH3_state_t xxh;
  State() { XXH3_128bits_reset(&xxh); }
};

Hash128::Hash128() : state_(std::make_unique<State>()) {}
Hash128::~Hash128() = default;
Hash128::Hash128(Hash128&&) noexcept = default;
Hash128& Hash128::operator=(Hash128&&) noexcept = default;

void Hash128::Update(const void* data, size_t size) {
  if (size > 0) XXH3_128bits_update(&state_->xxh, data, size);
}

std::string Hash128::Value() const {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&state_->xxh));
  return {reinterpret_cast<const char*>(canonical.digest), sizeof canonical.digest};
}

void Hash128::Reset() { XXH3_128bits_reset(&state_->xxh); }

std::string Hash128Of(std::string_view bytes) {
  Hash128 hash;
  hash.Update(bytes);
  return hash.Value();
}

}  // namespace stepback

// 128-bit hash (XXH3) of bytes given in pieces: state hashes and whole-file hashes. It finds damage and
// mistakes; it is no defence against someone who chooses the bytes. The value is XXH3's canonical
// (big-endian) form: 16 bytes, equal on every machine and cut of the pieces. Threads: an object belongs to
// one thread at a time.
//
//   Hash128 hash;
//   hash.Update(data, size);
//   std::string value = hash.Value();   // may go on with Update
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace stepback {

class Hash128 {
 public:
  Hash128();
  ~Hash128();
  Hash128(Hash128&&) noexcept;
  Hash128& operator=(Hash128&&) noexcept;

  void Update(const void* data, size_t size);
  void Update(std::string_view bytes) { Update(bytes.data(), bytes.size()); }
  std::string Value() const;
  void Reset();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string Hash128Of(std::string_view bytes);

}  // namespace stepback

// SHA-256 of bytes given in pieces (libcrypto), for layout fingerprints. Not for secrets at rest.
// Threads: an object belongs to one thread at a time.
//
//   Sha256 sha;
//   sha.Update("abc");
//   std::string digest = sha.Finish();   // 32 bytes
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace stepback {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  void Update(const void* data, size_t size);
  void Update(std::string_view bytes) { Update(bytes.data(), bytes.size()); }
  // The 32-byte digest; call once, last.
  std::string Finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

std::string Sha256Of(std::string_view bytes);

}  // namespace stepback

// INVALID_ARGUMENT that names the field of a model's specification. Pure.
//
//   return FieldError("spec.rounds.quorum", "is 0, expected 1..65536");
#pragma once

#include <string>

#include "absl/status/status.h"
#include "server/base/errors.h"

namespace stepback {

// At most `bytes` of UTF-8 text, cut between characters: names from outside go into messages, and may be of
// any length.
inline std::string Clip(const std::string& text, size_t bytes) {
  if (text.size() <= bytes) return text;
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) --bytes;
  return text.substr(0, bytes) + "...";
}

inline absl::Status FieldError(const std::string& field, const std::string& what) {
  const std::string path = Clip(field, 256);
  return WithField(Error(absl::StatusCode::kInvalidArgument, "INVALID_SPEC", path + " " + Clip(what, 1024)),
                   path);
}

}  // namespace stepback

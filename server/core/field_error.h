// INVALID_ARGUMENT that names the field of a model's specification. Pure.
//
//   return FieldError("spec.rounds.quorum", "is 0, expected 1..65536");
#pragma once

#include <string>

#include "absl/status/status.h"
#include "server/base/errors.h"

namespace stepback {

inline absl::Status FieldError(const std::string& field, const std::string& what) {
  return WithField(Error(absl::StatusCode::kInvalidArgument, "INVALID_SPEC", field + " " + what), field);
}

}  // namespace stepback

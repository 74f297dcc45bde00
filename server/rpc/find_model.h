// The model that a request names. INVALID_ARGUMENT(INVALID_NAME) or NOT_FOUND(MODEL_NOT_FOUND).
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/base/status_macros.h"
#include "server/engine/engine.h"
#include "server/rpc/names.h"

namespace stepback {

inline absl::StatusOr<std::shared_ptr<Handle>> FindModel(Engine* engine, const std::string& name,
                                                         const std::string& field = "model") {
  RETURN_IF_ERROR(CheckModelName(name, field));
  return engine->Find(name);
}

}  // namespace stepback

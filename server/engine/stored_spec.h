// A model's specification on disk (model_image.proto): value by value, without defaults. Pure.
#pragma once

#include "absl/status/statusor.h"
#include "server/core/spec.h"
#include "stepback/v1/model_image.pb.h"

namespace stepback {

void StoreSpec(const ModelSpec& spec, v1::StoredSpec* stored);
// The caller checks it with ValidateSpec. DATA_LOSS(IMAGE_DAMAGED) for a number that no enum has.
absl::StatusOr<ModelSpec> LoadSpec(const v1::StoredSpec& stored);

// DATA_LOSS(IMAGE_DAMAGED): the record does not say what a record must.
absl::Status DamagedImage(const std::string& what);

}  // namespace stepback

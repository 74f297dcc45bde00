// A model's specification between its proto form and the plain form of the core. Unset fields become the
// defaults that the proto documents; values are not judged here but by ValidateSpec, so that there is one
// place that knows bounds.
//
// Thread: any; pure.
//
//   const ModelSpec spec = SpecFromProto(request.spec(), {});
#pragma once

#include <cstdint>

#include "server/core/model_version.h"
#include "server/core/spec.h"
#include "stepback/v1/model.pb.h"
#include "stepback/v1/training.pb.h"

namespace stepback {

// Defaults that the server's configuration sets.
struct SpecDefaults {
  double lease_seconds = 60;
};

// Numbers that are no value of an enumeration arrive as one that ValidateSpec refuses.
ModelSpec SpecFromProto(const v1::ModelSpec& proto, const SpecDefaults& defaults);
v1::ModelSpec SpecToProto(const ModelSpec& spec, bool with_tensors);
// What training programs must follow from this version on.
v1::Settings SettingsToProto(const ModelVersion& version);

}  // namespace stepback

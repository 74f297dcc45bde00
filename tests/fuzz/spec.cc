// A model's specification as a client may send it: what is valid is valid again after it was written out.
#include "server/core/spec_check.h"

#include <google/protobuf/stubs/logging.h>

#include "server/rpc/spec_convert.h"
#include "stepback/v1/model.pb.h"
#include "tests/fuzz/input.h"

using namespace stepback;  // NOLINT

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static google::protobuf::LogSilencer silencer;  // a line of text takes longer than the rest
  v1::ModelSpec proto;
  if (!proto.ParseFromArray(data, static_cast<int>(size))) return 0;
  const ModelSpec spec = WithDefaults(SpecFromProto(proto, {}));
  if (!ValidateSpec(spec).ok()) return 0;
  const ModelSpec again = WithDefaults(SpecFromProto(SpecToProto(spec, /*with_tensors=*/true), {}));
  FUZZ_CHECK(ValidateSpec(again).ok(), ValidateSpec(again).ToString());
  FUZZ_CHECK(SameDefinition(spec, again), "another specification after it was written out");
  return 0;
}

// Puts the parts of a push together: one payload in wire order, by reference, whatever ranges each part
// covered. Pure; the parts' bytes stay where they are.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/encoded_view.h"
#include "server/base/payload.h"
#include "server/core/wire_layout.h"

namespace stepback {

struct AssemblyPart {
  const WireLayout* layout = nullptr;
  std::vector<kernels::ByteSpan> spans;  // layout->total_bytes() bytes
};

// Whether the payload is the parts' bytes one after the other.
bool AreConsecutive(const std::vector<AssemblyPart>& parts);

// INVALID_ARGUMENT (PART_MISMATCH) unless the parts tile `whole` exactly. `owner` keeps every part's bytes
// alive.
absl::StatusOr<Payload> AssemblePush(const WireLayout& whole, const std::vector<AssemblyPart>& parts,
                                     const std::shared_ptr<const void>& owner);

}  // namespace stepback

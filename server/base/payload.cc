#include "server/base/payload.h"

#include "absl/strings/str_cat.h"

namespace stepback {

absl::StatusOr<Payload> Payload::CopyOf(const kernels::EncodedView& view, kernels::HostAllocator* allocator) {
  const size_t bytes = view.size();
  if (bytes == 0) return Payload();
  std::byte* copy = allocator->Allocate(bytes);
  if (copy == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for a payload of ", bytes, " bytes"));
  }
  std::byte* to = copy;
  for (const kernels::ByteSpan& span : view.spans()) {
    std::memcpy(to, span.data, span.size);
    to += span.size;
  }
  Payload payload;
  payload.Append({copy, bytes}, std::shared_ptr<const void>(copy, [allocator, bytes, copy](const void*) {
                   allocator->Free(copy, bytes);
                 }));
  return payload;
}

}  // namespace stepback

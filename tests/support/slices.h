// Messages as the transport delivers them: cut into slices anywhere.
#pragma once

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <grpcpp/support/byte_buffer.h>

namespace stepback {

// Cuts of random size, 1 byte to `slice_bytes_max`; with an empty slice now and then.
inline grpc::ByteBuffer CutIntoSlices(const std::string& bytes, std::mt19937_64& random,
                                      size_t slice_bytes_max) {
  std::vector<grpc::Slice> slices;
  for (size_t begin = 0; begin < bytes.size();) {
    const size_t size = std::min<size_t>(bytes.size() - begin, 1 + random() % slice_bytes_max);
    slices.emplace_back(bytes.data() + begin, size);
    if (random() % 16 == 0) slices.emplace_back();
    begin += size;
  }
  return grpc::ByteBuffer(slices.data(), slices.size());
}

inline grpc::ByteBuffer OneSlice(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

inline std::string BytesIn(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!buffer.Valid() || !buffer.Dump(&slices).ok()) return bytes;
  for (const grpc::Slice& slice : slices)
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes;
}

}  // namespace stepback

#include "server/rpc/wire_pull.h"

#include <memory>
#include <utility>
#include <vector>

#include <google/protobuf/io/coded_stream.h>
#include <grpcpp/support/slice.h>

#include "server/rpc/slice_cursor.h"

namespace stepback {
namespace {

using google::protobuf::io::CodedOutputStream;

constexpr uint32_t Tag(int field, WireType type) {
  return static_cast<uint32_t>(field) << 3 | static_cast<uint32_t>(type);
}

uint8_t* WriteVarint(int field, WireType type, uint64_t value, uint8_t* to) {
  to = CodedOutputStream::WriteTagToArray(Tag(field, type), to);
  return CodedOutputStream::WriteVarint64ToArray(value, to);
}

uint8_t* WriteFixed32(int field, uint32_t value, uint8_t* to) {
  to = CodedOutputStream::WriteTagToArray(Tag(field, WireType::kFixed32), to);
  return CodedOutputStream::WriteLittleEndian32ToArray(value, to);
}

// The fields of Chunk before the bytes of `data`; proto3 leaves out zeros.
std::string ChunkPrefix(uint64_t offset, uint32_t crc32c, uint64_t data_bytes) {
  std::string prefix(48, '\0');
  auto* const begin = reinterpret_cast<uint8_t*>(prefix.data());
  uint8_t* to = begin;
  if (offset != 0) to = WriteVarint(1, WireType::kVarint, offset, to);
  if (crc32c != 0) to = WriteFixed32(2, crc32c, to);
  if (data_bytes != 0) to = WriteVarint(3, WireType::kBytes, data_bytes, to);
  prefix.resize(to - begin);
  return prefix;
}

std::string FieldPrefix(int field, uint64_t length) {
  std::string prefix(20, '\0');
  auto* const begin = reinterpret_cast<uint8_t*>(prefix.data());
  prefix.resize(WriteVarint(field, WireType::kBytes, length, begin) - begin);
  return prefix;
}

void Release(void* owner) { delete static_cast<std::shared_ptr<const Payload>*>(owner); }

void AppendSlices(Payload data, std::vector<grpc::Slice>* slices) {
  const auto owner = std::make_shared<const Payload>(std::move(data));
  for (const kernels::ByteSpan& span : owner->view().spans()) {
    auto* const reference = new std::shared_ptr<const Payload>(owner);
    slices->emplace_back(const_cast<std::byte*>(span.data), span.size, &Release, reference);
  }
}

}  // namespace

grpc::ByteBuffer EncodeChunkMessage(int field, uint64_t offset, uint32_t crc32c, Payload data,
                                    const std::string& suffix) {
  const std::string chunk = ChunkPrefix(offset, crc32c, data.size());
  std::vector<grpc::Slice> slices;
  slices.emplace_back(FieldPrefix(field, chunk.size() + data.size()) + chunk);
  AppendSlices(std::move(data), &slices);
  if (!suffix.empty()) slices.emplace_back(suffix);
  return grpc::ByteBuffer(slices.data(), slices.size());
}

grpc::ByteBuffer EncodeMessageField(int field, const google::protobuf::MessageLite& inner) {
  std::string bytes = FieldPrefix(field, inner.ByteSizeLong());
  inner.AppendToString(&bytes);
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace stepback

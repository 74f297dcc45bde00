#include "server/rpc/create_stream.h"

#include "server/rpc/message.h"
#include "server/rpc/names.h"
#include "server/rpc/reply_convert.h"
#include "server/rpc/request_convert.h"

namespace stepback {

absl::Status CreateStream::OnHeader(const std::string& bytes) {
  v1::CreateModelRequest::Header header;
  RETURN_IF_ERROR(ParseMessage(bytes, &header));
  RETURN_IF_ERROR(CheckModelName(header.spec().name(), "spec.name"));
  if (!v1::Initialization_IsValid(header.init())) {
    return InvalidField("init", fmt::format("is {}, expected 0..2", static_cast<int>(header.init())));
  }
  ASSIGN_OR_RETURN(const int codec, WeightsCodecFromProto(header.codec()));
  const bool zeros = header.init() == v1::INITIALIZATION_ZEROS;
  ASSIGN_OR_RETURN(upload_, context_.engine->StartCreate(SpecFromProto(header.spec(), context_.defaults),
                                                         zeros, codec, header.total_bytes()));
  ReadNext();
  return absl::OkStatus();
}

absl::Status CreateStream::OnChunk(ChunkIn chunk) {
  return upload_->AddChunk(chunk.offset, chunk.crc32c, std::move(chunk.data));
}

void CreateStream::OnLastChunk() {
  upload_->Finish(Event<absl::StatusOr<Created>>([this](const auto& created) { OnCreated(created); }));
}

void CreateStream::OnCreated(const absl::StatusOr<Created>& created) {
  if (!created.ok()) return FinishWith(created.status());
  v1::CreateModelResponse response;
  *response.mutable_model() = ModelToProto(created->handle->Info(), true);
  response.set_created(created->created);
  *response_ = SerializeMessage(response);
  call().OnMessageSent();
  FinishWith(absl::OkStatus());
}

}  // namespace stepback

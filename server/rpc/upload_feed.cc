#include "server/rpc/upload_feed.h"

#include <utility>

#include "server/base/status_macros.h"
#include "server/rpc/names.h"
#include "server/rpc/request_convert.h"

namespace stepback {

absl::Status UploadFeed::Start(const v1::PushHeader& header, Done<UploadStart> started) {
  RETURN_IF_ERROR(CheckModelName(header.model(), "model"));
  ASSIGN_OR_RETURN(UploadRequest request, UploadFromProto(header));
  ASSIGN_OR_RETURN(model_, context_.engine->Find(header.model()));
  waiting_ = model_->StartUpload(std::move(request), std::move(started));
  return absl::OkStatus();
}

absl::Status UploadFeed::AddChunk(ChunkIn chunk) const {
  return upload_->AddChunk(chunk.offset, chunk.crc32c, std::move(chunk.data));
}

void UploadFeed::Release() {
  waiting_.reset();
  upload_.reset();
}

}  // namespace stepback

#include "server/rpc/push_stream.h"

#include "server/rpc/message.h"
#include "server/rpc/reply_convert.h"

namespace stepback {

absl::Status PushStream::OnHeader(const std::string& bytes) {
  v1::PushHeader header;
  RETURN_IF_ERROR(ParseMessage(bytes, &header));
  return feed_.Start(header,
                     Event<absl::StatusOr<UploadStart>>([this](auto start) { OnStarted(std::move(start)); }));
}

void PushStream::OnStarted(absl::StatusOr<UploadStart> start) {
  if (!start.ok()) return FinishWith(start.status());
  if (start->duplicate) return OnAnswer(*start->duplicate);
  feed_.Take(std::move(start->upload));
  ReadNext();
}

void PushStream::OnLastChunk() {
  feed_.Finish(Event<absl::StatusOr<PushAnswer>>([this](const auto& answer) { OnAnswer(answer); }));
}

void PushStream::OnAnswer(const absl::StatusOr<PushAnswer>& answer) {
  if (!answer.ok()) return FinishWith(answer.status());
  if (!answer->refusal.ok()) return FinishWith(answer->refusal);
  *response_ = SerializeMessage(AnswerToProto(*answer));
  call().OnMessageSent();
  FinishWith(absl::OkStatus());
}

}  // namespace stepback

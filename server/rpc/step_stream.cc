#include "server/rpc/step_stream.h"

#include "server/rpc/message.h"
#include "server/rpc/reply_convert.h"
#include "server/rpc/request_convert.h"

namespace stepback {

bool LeadsToLaterVersion(const PushAnswer& answer, RoundPolicy policy) {
  const PushOutcome outcome =
      answer.outcome == PushOutcome::kDuplicate ? answer.first_outcome : answer.outcome;
  if (outcome == PushOutcome::kSkipped) return policy == RoundPolicy::kSync;
  return outcome == PushOutcome::kBuffered;
}

absl::Status StepStream::OnHeader(const std::string& bytes) {
  v1::StepRequest::Header header;
  RETURN_IF_ERROR(ParseMessage(bytes, &header));
  ASSIGN_OR_RETURN(pull_, PullFromProto(header.pull()));
  if (header.push().has_fragment()) fragment_ = header.push().fragment().index();
  RETURN_IF_ERROR(feed_.Start(header.push(), Event<absl::StatusOr<UploadStart>>(
                                                 [this](auto start) { OnStarted(std::move(start)); })));
  SetModel(feed_.model());
  return absl::OkStatus();
}

void StepStream::OnStarted(absl::StatusOr<UploadStart> start) {
  if (!start.ok()) return FinishWith(start.status());
  if (start->duplicate) return OnAnswer(*start->duplicate);
  feed_.Take(std::move(start->upload));
  ReadNext();
}

void StepStream::OnLastChunk() {
  feed_.Finish(Event<absl::StatusOr<PushAnswer>>([this](const auto& answer) { OnAnswer(answer); }));
}

void StepStream::OnAnswer(const absl::StatusOr<PushAnswer>& answer) {
  if (!answer.ok()) return FinishWith(answer.status());
  if (!answer->refusal.ok()) return FinishWith(answer->refusal);
  feed_.Release();
  Enqueue(EncodeMessageField(1, AnswerToProto(*answer)));  // StepResponse.accepted
  SendVersionAfter(*answer);
}

void StepStream::SendVersionAfter(const PushAnswer& answer) {
  std::shared_ptr<PinnedVersion> pin = model()->Pin();
  if (LeadsToLaterVersion(answer, pin->version().spec->rounds.policy)) {
    SendNewer(answer.version, answer.rounds_dropped, pull_, fragment_);
  } else {
    SendVersion(std::move(pin), pull_, std::nullopt);
  }
}

void StepStream::OnRelease() {
  feed_.Release();
  VersionStream::OnRelease();
}

}  // namespace stepback

// Where an upload belongs: refused, answered at once, a repeat of a submitted push, or a part of a pending
// one.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/engine/intake.h"
#include "server/engine/intake_actions.h"
#include "server/engine/push_metrics.h"
#include "server/engine/upload_impl.h"

namespace stepback {
namespace {

constexpr size_t kRepeatsMax = 16;  // uploads of one submitted push
constexpr uint64_t kAheadMax = 5;   // pushes of a client beyond its next one (reliability P4)

bool SameRuns(const WireLayout& a, const WireLayout& b) {
  return std::equal(a.runs().begin(), a.runs().end(), b.runs().begin(), b.runs().end(),
                    [](const WireRun& x, const WireRun& y) {
                      return x.tensor == y.tensor && x.first == y.first && x.count == y.count;
                    });
}

absl::Status BadResume(const std::string& model, uint64_t resume_offset, uint64_t held) {
  return Error(
      absl::StatusCode::kInvalidArgument, "BAD_OFFSET",
      fmt::format("model '{}': upload resumes at byte {}, but {} bytes are held", model, resume_offset, held),
      {{"bytes_received", std::to_string(held)}});
}

}  // namespace

void Intake::Place(const CheckedUpload& checked, PendingStart start, Actions* actions) {
  const PushHeader& header = checked.request.header;
  const auto refuse = [&](const absl::Status& why) {
    ReportRefusal(options_.metrics, why);
    actions->Answer<UploadStart>(std::move(start.done), why);
  };
  if (const absl::Status open = CheckOpen(header); !open.ok()) return refuse(open);
  actions->tasks.push_back([this, header, health = checked.request.health] {
    hooks_.renew(header.client_id, header.epoch, health);
  });
  if (AnswerRepeat({header.client_id, header.sequence}, &start, actions)) return;
  const absl::StatusOr<PendingPush*> push = FindPush(checked, actions);
  if (!push.ok()) return refuse(push.status());
  const absl::StatusOr<PendingPart*> part = FindPart(checked, *push, actions);
  if (!part.ok()) return refuse(part.status());
  if (std::optional<PendingStart> older = std::exchange((*part)->start, std::move(start))) {
    actions->Answer<UploadStart>(std::move(older->done), Error(absl::StatusCode::kAborted, "UPLOAD_REPLACED",
                                                               "another upload of the same part has begun"));
  }
  if ((*push)->state == PendingPush::State::kAdmitted) return OpenPart(*push, checked.request.part, actions);
  WakeAt((*part)->start->deadline);
  AdmitQueued(actions);
}

absl::Status Intake::CheckOpen(const PushHeader& header) const {
  RETURN_IF_ERROR(ended_);
  RETURN_IF_ERROR(refusal_);
  return sessions_.CheckSession(header.client_id, header.epoch);
}

// A decided push is answered now, a submitted one with the others who wait for it.
bool Intake::AnswerRepeat(const PushKey& key, PendingStart* start, Actions* actions) {
  if (const auto answer = sessions_.Remembered(key.first, key.second)) {
    actions->Answer<UploadStart>(
        std::move(start->done),
        answer->ok() ? absl::StatusOr<UploadStart>(UploadStart{.duplicate = **answer}) : answer->status());
    return true;
  }
  const auto found = pushes_.find(key);
  if (found == pushes_.end() || found->second.state != PendingPush::State::kSubmitted) return false;
  std::vector<PendingStart>& repeats = found->second.repeats;
  if (repeats.size() >= kRepeatsMax) {
    actions->Answer<UploadStart>(
        std::move(start->done),
        WithRetryAfter(Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
                             fmt::format("{} uploads of push {} wait already", repeats.size(), key.second)),
                       1));
  } else {
    repeats.push_back(std::move(*start));
  }
  return true;
}

absl::StatusOr<PendingPush*> Intake::FindPush(const CheckedUpload& checked, Actions* actions) {
  const PushHeader& header = checked.request.header;
  const auto found = pushes_.find({header.client_id, header.sequence});
  if (found == pushes_.end()) return NewPush(checked);
  PendingPush& push = found->second;
  if (SamePush(push.header, header) && push.part_count == checked.request.part_count) {
    push.header.epoch = header.epoch;  // an older session's parts stay, and may be resumed
    return &push;
  }
  // Another push under the number: the worker made a new one, after it lost the old one or gave it up.
  const bool alone = push.parts.size() == 1 && push.Find(checked.request.part) != nullptr;
  if (header.epoch == push.header.epoch && !alone) {
    return Error(
        absl::StatusCode::kInvalidArgument, "PART_MISMATCH",
        fmt::format("model '{}': part {} announces another push {} of client '{}' than the parts before",
                    options_.spec->name, checked.request.part, header.sequence, header.client_id));
  }
  EndPush(found,
          Error(absl::StatusCode::kAborted, "UPLOAD_REPLACED", "another push of the same number has begun"),
          actions);
  return NewPush(checked);
}

absl::StatusOr<PendingPush*> Intake::NewPush(const CheckedUpload& checked) {
  const PushHeader& header = checked.request.header;
  const std::string& model = options_.spec->name;
  const uint64_t next = sessions_.last_sequence(header.client_id) + 1;
  if (header.sequence > next + kAheadMax) {
    return Error(absl::StatusCode::kFailedPrecondition, "SEQUENCE_GAP",
                 fmt::format("model '{}': push {} of client '{}' is too far ahead, expected {}", model,
                             header.sequence, header.client_id, next),
                 {{"expected", std::to_string(next)}});
  }
  if (checked.push_bytes > options_.budget_bytes) {
    return Error(absl::StatusCode::kInvalidArgument, "PUSH_TOO_LARGE",
                 fmt::format("model '{}': the push has {} bytes, the staging budget {}", model,
                             checked.push_bytes, options_.budget_bytes));
  }
  if (checked.request.resume_offset != 0) return BadResume(model, checked.request.resume_offset, 0);
  if (pushes_.size() >= kPushesMax) {
    return WithRetryAfter(
        Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
              fmt::format("model '{}': {} pushes are pending already", model, pushes_.size())),
        1);
  }
  PendingPush& push = pushes_[{header.client_id, header.sequence}];
  push.header = header;
  push.part_count = checked.request.part_count;
  push.push_bytes = checked.push_bytes;
  push.started = options_.clock->Now();
  push.arrival = next_id_++;
  queue_[push.arrival] = {header.client_id, header.sequence};
  return &push;
}

absl::StatusOr<PendingPart*> Intake::FindPart(const CheckedUpload& checked, PendingPush* push,
                                              Actions* actions) {
  const UploadRequest& request = checked.request;
  PendingPart* part = push->Find(request.part);
  const bool same = part != nullptr && SameRuns(*part->layout, *checked.part);
  const uint64_t held = same && part->bytes != nullptr ? part->bytes->received() : 0;
  if (request.resume_offset != 0 && request.resume_offset != held) {
    return BadResume(options_.spec->name, request.resume_offset, held);
  }
  if (same) return part;
  const uint64_t others = push->AnnouncedBytes(request.part);
  if (others + request.total_bytes > push->push_bytes) {
    return Error(absl::StatusCode::kInvalidArgument, "PART_MISMATCH",
                 fmt::format("model '{}': the parts of push {} announce {} bytes, the push has {}",
                             options_.spec->name, request.header.sequence, others + request.total_bytes,
                             push->push_bytes));
  }
  if (part != nullptr && part->bytes != nullptr) actions->dropped.push_back(std::move(part->bytes));
  part = &push->parts[request.part];
  part->layout = checked.part;
  part->owner = 0;
  part->complete = false;
  return part;
}

void Intake::OpenPart(PendingPush* push, uint32_t index, Actions* actions) {
  PendingPart& part = *push->Find(index);
  if (part.bytes == nullptr) {
    part.bytes = std::make_shared<StagedPart>(part.layout, options_.allocator, options_.metrics);
  }
  PendingStart start = *std::exchange(part.start, std::nullopt);
  Touch(push);
  if (const absl::Status taken = part.bytes->TakeOver(start.id, start.resume_offset); !taken.ok()) {
    return actions->Answer<UploadStart>(std::move(start.done), taken);
  }
  part.owner = start.id;
  part.complete = false;
  actions->Answer<UploadStart>(
      std::move(start.done), UploadStart{.upload = std::make_shared<UploadImpl>(
                                             shared_from_this(), push->header, index, start.id, part.bytes)});
}

}  // namespace stepback

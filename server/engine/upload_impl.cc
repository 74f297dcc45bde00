#include "server/engine/upload_impl.h"

#include <fmt/format.h>

#include "server/base/errors.h"
#include "server/base/failpoint.h"
#include "server/engine/push_metrics.h"

namespace stepback {

Intake::UploadImpl::UploadImpl(std::shared_ptr<Intake> intake, PushHeader header, uint32_t part, uint64_t id,
                               std::shared_ptr<StagedPart> bytes)
    : intake_(std::move(intake)),
      header_(std::move(header)),
      part_(part),
      id_(id),
      bytes_(std::move(bytes)),
      received_(bytes_->received()),
      shown_life_(intake_->options_.clock->Now()) {}

Intake::UploadImpl::~UploadImpl() {
  if (bytes_ != nullptr) intake_->Park({header_.client_id, header_.sequence}, part_, id_);
}

absl::Status Intake::UploadImpl::AddChunk(uint64_t offset, uint32_t crc32c, Payload data) {
  if (!status_.ok()) return status_;
  if (bytes_ == nullptr) {
    return status_ = Error(absl::StatusCode::kInvalidArgument, "TOO_MANY_BYTES",
                           "a chunk after the end of the push");
  }
  const uint64_t size = data.size();
  const bool last = offset + size == bytes_->layout().total_bytes();
  if (offset == 0) FAILPOINT("push.before_first_chunk");
  if (last) FAILPOINT("push.before_last_chunk");
  status_ = Explain(bytes_->Add(id_, offset, crc32c, std::move(data)));
  if (!status_.ok()) {
    ReportRefusal(intake_->options_.metrics, status_);
    return status_;
  }
  received_ = offset + size;
  if (offset == 0) FAILPOINT("push.after_first_chunk");
  if (last) FAILPOINT("push.after_last_chunk");
  intake_->options_.model_metrics->OnReceivedBytes(bytes_->layout().codec().name, size);
  const TimePoint now = intake_->options_.clock->Now();
  if (now - shown_life_ >= Duration(intake_->lease_nanos_.load()) / 4) {
    shown_life_ = now;
    intake_->ShowLife(header_);
  }
  return absl::OkStatus();
}

void Intake::UploadImpl::Finish(Done<PushAnswer> done) {
  if (status_.ok() && bytes_ == nullptr) {
    status_ = Error(absl::StatusCode::kInvalidArgument, "TOO_MANY_BYTES", "the push has ended already");
  }
  if (status_.ok()) {
    // Let go first: the push may be decided, and its memory counted as free, before Finish returns.
    const std::shared_ptr<StagedPart> bytes = std::exchange(bytes_, nullptr);
    status_ = Explain(intake_->Finish(header_, part_, id_, &done));
    if (status_.ok()) return;
    bytes_ = bytes;
  }
  ReportRefusal(intake_->options_.metrics, status_);
  done(status_);
}

absl::Status Intake::UploadImpl::Explain(const absl::Status& status) const {
  if (absl::IsCancelled(status)) return intake_->WhyDisplaced(header_);
  if (!absl::IsResourceExhausted(status)) return status;
  return WithRetryAfter(Error(status.code(), ReasonOf(status),
                              fmt::format("model '{}': push {} of client '{}': {}", intake_->options_.spec->name,
                                          header_.sequence, header_.client_id, std::string(status.message()))),
                        1);
}

}  // namespace stepback

// The engine's Upload: feeds one part of a pending push. Only for intake*.cc.
#pragma once

#include <memory>
#include <utility>

#include "server/engine/intake.h"

namespace stepback {

class Intake::UploadImpl final : public Upload {
 public:
  UploadImpl(std::shared_ptr<Intake> intake, PushHeader header, uint32_t part, uint64_t id,
             std::shared_ptr<StagedPart> bytes);
  ~UploadImpl() override;

  absl::Status AddChunk(uint64_t offset, uint32_t crc32c, Payload data) override;
  uint64_t bytes_received() const override { return received_; }
  void Finish(Done<PushAnswer> done) override;

 private:
  absl::Status Explain(const absl::Status& status) const;

  const std::shared_ptr<Intake> intake_;
  const PushHeader header_;
  const uint32_t part_;
  const uint64_t id_;
  std::shared_ptr<StagedPart> bytes_;  // gone once finished: the memory is the core's then
  uint64_t received_ = 0;
  TimePoint shown_life_;
  absl::Status status_;
};

}  // namespace stepback

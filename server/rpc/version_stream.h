// The sending half of Pull and Step: perhaps a wait for a newer version, then that version. One message is
// with the transport at a time. When the version is revoked while the reader stalls, the call ends with
// ABORTED(VERSION_GONE); a reader that does not even take what was sent by then is cut off after a grace,
// because the transport's reference to its last chunk would pin the version's memory.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <utility>

#include "server/rpc/call_timer.h"
#include "server/rpc/held_call.h"
#include "server/rpc/service_context.h"
#include "server/rpc/stream.h"
#include "server/rpc/version_sender.h"
#include "server/rpc/wire_pull.h"

namespace stepback {

template <typename Base>
class VersionStream : public Base {
 protected:
  VersionStream(Call call, const ServiceContext& context, grpc::CallbackServerContext* grpc_context,
                const VersionFields& fields)
      : Base(std::move(call)), context_(context), fields_(fields), held_(grpc_context) {}

  const ServiceContext& context() const { return context_; }
  Handle* model() const { return model_.get(); }
  void SetModel(std::shared_ptr<Handle> model) { model_ = std::move(model); }

  // Sends the first version that is newer than `after` (of `fragment`, if one is named); says Waiting until
  // it is there.
  void SendNewer(Version after, std::optional<uint64_t> rounds_dropped, const PullSpec& spec,
                 std::optional<uint32_t> fragment) {
    spec_ = spec;
    wait_ = model_->WaitNewer(after, rounds_dropped,
                              this->template Event<absl::StatusOr<std::shared_ptr<PinnedVersion>>>(
                                  [this](auto pin) { OnNewer(std::move(pin)); }),
                              fragment);
    StartWaitingTimer();
  }

  void SendVersion(std::shared_ptr<PinnedVersion> pin, const PullSpec& spec, std::optional<Version> since) {
    timer_.Stop();
    auto sender = VersionSender::Make(context_, model_.get(), pin, spec, fields_, since);
    if (!sender.ok()) return this->FinishWith(sender.status());
    sender_ = *std::move(sender);
    pin->OnRevoked([gone = this->template Event<bool>([this](bool) { OnRevoked(); })] { gone(true); });
    Pump();
  }

  // A message of its own before, or while, the stream waits.
  void Enqueue(grpc::ByteBuffer message) {
    queued_.push_back(std::move(message));
    Pump();
  }

  void OnWritten() final { Pump(); }

  void OnRelease() override {
    timer_.Stop();
    wait_.reset();
    sender_.reset();
    queued_.clear();
  }

 private:
  void OnNewer(absl::StatusOr<std::shared_ptr<PinnedVersion>> pin) {
    if (!pin.ok()) return this->FinishWith(pin.status());
    SendVersion(*std::move(pin), spec_, std::nullopt);
  }

  void StartWaitingTimer() {
    timer_.Start(context_.waiting_interval, this->template Event<bool>([this](bool) { OnWaitingTime(); }));
  }

  void OnWaitingTime() {
    if (sender_ != nullptr) return;
    if (!this->writing() && queued_.empty()) {
      v1::Waiting waiting;
      waiting.set_reason(model_->WaitingFor());
      Enqueue(EncodeMessageField(fields_.waiting, waiting));
    }
    StartWaitingTimer();
  }

  void OnRevoked() {
    const bool stalled = this->writing();
    this->FinishWith(
        Error(absl::StatusCode::kAborted, "VERSION_GONE",
              "newer versions needed the room of this one before the reader had taken it; pull again"));
    if (stalled) timer_.Start(context_.stalled_reader_grace, held_.Canceller());
  }

  void Pump() {
    if (this->writing() || this->finished()) return;
    if (!queued_.empty()) {
      grpc::ByteBuffer message = std::move(queued_.front());
      queued_.pop_front();
      return this->Write(std::move(message));
    }
    if (sender_ != nullptr) SendNext();
  }

  void SendNext() {
    auto next = sender_->Next();
    if (!next.ok()) return this->FinishWith(next.status());
    next->last ? this->WriteAndFinish(std::move(next->bytes)) : this->Write(std::move(next->bytes));
  }

  const ServiceContext& context_;
  const VersionFields fields_;
  const HeldCall held_;
  std::shared_ptr<Handle> model_;
  PullSpec spec_;
  std::unique_ptr<Cancel> wait_;
  CallTimer timer_;
  std::unique_ptr<VersionSender> sender_;
  std::deque<grpc::ByteBuffer> queued_;
};

}  // namespace stepback

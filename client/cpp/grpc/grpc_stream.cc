#include "client/cpp/grpc/grpc_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "client/cpp/grpc/status_from_grpc.h"

namespace stepback::client {
namespace {

void* AsTag(intptr_t tag) { return reinterpret_cast<void*>(tag); }

// A slice that refers to `span` and keeps `owner` until gRPC needs it no more.
grpc::Slice Refer(const kernels::ByteSpan& span, const std::shared_ptr<const Payload>& owner) {
  using Owner = std::shared_ptr<const Payload>;
  // gRPC does not write to slices that it sends; its interface has no const.
  return grpc::Slice(
      const_cast<std::byte*>(span.data), span.size, [](void* held) { delete static_cast<Owner*>(held); },
      new Owner(owner));
}

grpc::ByteBuffer ToByteBuffer(OutMessage message) {
  const auto payload = std::make_shared<const Payload>(std::move(message.payload));
  std::vector<grpc::Slice> slices;
  slices.reserve(1 + payload->view().spans().size());
  slices.emplace_back(message.head);
  for (const kernels::ByteSpan& span : payload->view().spans()) slices.push_back(Refer(span, payload));
  return grpc::ByteBuffer(slices.data(), slices.size());
}

Payload ToPayload(const grpc::ByteBuffer& buffer) {
  const auto slices = std::make_shared<std::vector<grpc::Slice>>();
  Payload out;
  if (!buffer.Dump(slices.get()).ok()) return out;
  for (const grpc::Slice& slice : *slices) {
    out.Append({reinterpret_cast<const std::byte*>(slice.begin()), slice.size()}, slices);
  }
  return out;
}

}  // namespace

GrpcStream::GrpcStream(std::shared_ptr<grpc::Channel> channel, const std::string& method,
                       const CallLimits& limits, Interrupt* interrupt)
    : channel_(std::move(channel)),
      interrupt_(interrupt),
      idle_(limits.idle),
      last_event_(Clock::Real()->Now()) {
  if (limits.timeout.count() > 0) context_.set_deadline(std::chrono::system_clock::now() + limits.timeout);
  call_ = grpc::GenericStub(channel_).PrepareCall(&context_, method, &queue_);
  ++pending_;
  call_->StartCall(AsTag(kStarted));
}

GrpcStream::~GrpcStream() {
  if (!finished_) context_.TryCancel();
  void* tag = nullptr;
  bool ok = false;
  while (pending_ > 0 && queue_.Next(&tag, &ok)) OnTag(static_cast<Tag>(reinterpret_cast<intptr_t>(tag)), ok);
  queue_.Shutdown();
  while (queue_.Next(&tag, &ok)) continue;
}

void GrpcStream::Write(OutMessage message, bool last) {
  write_ = PendingWrite{ToByteBuffer(std::move(message)), last};
  if (started_) StartWrite();
}

void GrpcStream::HalfClose() {
  half_close_ = true;
  if (started_ && !finishing_) {
    ++pending_;
    call_->WritesDone(AsTag(kHalfClosed));
  }
}

Event GrpcStream::Next() {
  while (!finished_) {
    void* tag = nullptr;
    bool ok = false;
    const auto look_again = std::chrono::system_clock::now() + kPollInterval;
    switch (queue_.AsyncNext(&tag, &ok, look_again)) {
      case grpc::CompletionQueue::GOT_EVENT:
        last_event_ = Clock::Real()->Now();
        if (auto event = OnTag(static_cast<Tag>(reinterpret_cast<intptr_t>(tag)), ok))
          return *std::move(event);
        break;
      case grpc::CompletionQueue::TIMEOUT:
        CheckLimits();
        break;
      case grpc::CompletionQueue::SHUTDOWN:
        return {.kind = Event::Kind::kEnd,
                .status = absl::InternalError("the completion queue was shut down")};
    }
  }
  return {.kind = Event::Kind::kEnd, .status = FinalStatus()};
}

std::optional<Event> GrpcStream::OnTag(Tag tag, bool ok) {
  --pending_;
  switch (tag) {
    case kStarted:
      return OnStarted(ok);
    case kRead:
      return OnRead(ok);
    case kWritten:
      if (ok) return Event{.kind = Event::Kind::kWritten};
      Finish();
      return std::nullopt;
    case kHalfClosed:
      return std::nullopt;
    case kFinished:
      finished_ = true;
      return std::nullopt;
  }
  return std::nullopt;
}

std::optional<Event> GrpcStream::OnStarted(bool ok) {
  started_ = true;
  if (!ok || finishing_) {
    Finish();
    return std::nullopt;
  }
  StartRead();
  if (write_) StartWrite();
  if (half_close_) HalfClose();
  return std::nullopt;
}

std::optional<Event> GrpcStream::OnRead(bool ok) {
  if (!ok) {
    Finish();
    return std::nullopt;
  }
  Event event{.kind = Event::Kind::kMessage, .message = ToPayload(read_)};
  read_.Clear();
  // One message ahead: the next one arrives while this one is used.
  if (!finishing_) StartRead();
  return event;
}

void GrpcStream::StartRead() {
  ++pending_;
  call_->Read(&read_, AsTag(kRead));
}

void GrpcStream::StartWrite() {
  if (finishing_) return;
  ++pending_;
  if (write_->last) {
    call_->WriteLast(write_->bytes, grpc::WriteOptions(), AsTag(kWritten));
  } else {
    call_->Write(write_->bytes, AsTag(kWritten));
  }
  write_.reset();
}

void GrpcStream::Finish() {
  if (finishing_) return;
  finishing_ = true;
  if (!started_) return;  // the start's tag comes first
  ++pending_;
  call_->Finish(&status_, AsTag(kFinished));
}

void GrpcStream::CheckLimits() {
  if (failure_) return;
  if (absl::Status interrupted = interrupt_->Check(); !interrupted.ok()) return Fail(std::move(interrupted));
  const auto quiet = Clock::Real()->Now() - last_event_;
  if (idle_.count() > 0 && quiet > idle_) {
    const double seconds = std::chrono::duration<double>(quiet).count();
    Fail(absl::UnavailableError(fmt::format("no sign of life from the server for {:.1f} s", seconds)));
  }
}

void GrpcStream::Fail(absl::Status status) {
  failure_ = std::move(status);
  context_.TryCancel();
  if (started_) Finish();
}

// Whoever cancels here has left a failure. A server that stops cancels what still waits: that is no answer.
absl::Status GrpcStream::FinalStatus() const {
  if (failure_) return *failure_;
  const absl::Status status = StatusFromGrpc(status_);
  return absl::IsCancelled(status) ? absl::UnavailableError("the server ended the call") : status;
}

}  // namespace stepback::client

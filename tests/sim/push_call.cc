#include "tests/sim/push_call.h"

#include <algorithm>
#include <utility>

#include "server/base/crc32c.h"
#include "tests/sim/planted.h"

namespace stepback::sim {
namespace {

constexpr uint64_t kChunkBytes = 16;

}  // namespace

PushCall::PushCall(Context* context, size_t client, UploadRequest request, std::vector<float> values,
                   Done<PushAnswer> done)
    : context_(context),
      client_(client),
      request_(std::move(request)),
      values_(std::move(values)),
      done_(std::move(done)) {}

void PushCall::Start() {
  context_->network->OnStream(
      client_, &stream_, [self = shared_from_this()] { self->Deliver(); }, [] {});
}

void PushCall::Deliver() {
  incarnation_ = context_->server->incarnation();
  Handle* const model = context_->server->model();
  if (model == nullptr) return Answer(absl::UnavailableError("the server is down"));
  cancel_ = model->StartUpload(request_, [self = shared_from_this()](absl::StatusOr<UploadStart> start) {
    if (!self->ServerIsGone()) self->OnStart(std::move(start));
  });
}

void PushCall::OnStart(absl::StatusOr<UploadStart> start) {
  if (!start.ok()) return Answer(start.status());
  if (start->duplicate) return Answer(*start->duplicate);
  upload_ = start->upload;
  SendChunk(upload_->bytes_received());
}

void PushCall::SendChunk(uint64_t offset) {
  context_->network->OnStream(
      client_, &stream_,
      [self = shared_from_this(), offset] {
        if (!self->ServerIsGone()) self->AddChunk(offset);
      },
      [self = shared_from_this(), offset] {
        if (IsPlanted("fold_partial_push") && !self->ServerIsGone()) self->FinishWithZeros(offset);
        self->upload_.reset();
        self->cancel_.reset();
      });
}

void PushCall::AddChunk(uint64_t offset) {
  if (offset == request_.total_bytes) return Finish();
  const uint64_t size = std::min(kChunkBytes, request_.total_bytes - offset);
  const auto bytes = std::make_shared<std::vector<std::byte>>(size);
  std::copy_n(reinterpret_cast<const std::byte*>(values_.data()) + offset, size, bytes->data());
  Payload payload;
  payload.Append({bytes->data(), size}, bytes);
  const absl::Status added = upload_->AddChunk(offset, Crc32c(bytes->data(), size), std::move(payload));
  if (!added.ok()) return Answer(added);
  SendChunk(offset + size);
}

// The planted bug of the kind "fold a partial push": what did not come counts as zero.
void PushCall::FinishWithZeros(uint64_t offset) {
  const auto zeros = std::make_shared<std::vector<std::byte>>(request_.total_bytes - offset);
  Payload payload;
  payload.Append({zeros->data(), zeros->size()}, zeros);
  if (!zeros->empty())
    upload_->AddChunk(offset, Crc32c(zeros->data(), zeros->size()), std::move(payload)).IgnoreError();
  std::exchange(upload_, nullptr)->Finish([](const absl::StatusOr<PushAnswer>&) {});
}

void PushCall::Finish() {
  const std::shared_ptr<Upload> upload = std::exchange(upload_, nullptr);
  upload->Finish([self = shared_from_this()](absl::StatusOr<PushAnswer> answer) {
    if (!self->ServerIsGone()) self->Answer(answer);
  });
}

void PushCall::Answer(const absl::StatusOr<PushAnswer>& answer) {
  upload_.reset();
  cancel_.reset();
  context_->oracle->OnAnswer(client_, request_.header.sequence, answer);
  context_->network->ToClient(client_, [done = done_, answer] { done(answer); });
}

}  // namespace stepback::sim

#include "server/rpc/watch_stream.h"

#include "server/base/status_macros.h"
#include "server/rpc/message.h"
#include "server/rpc/names.h"
#include "server/rpc/reply_convert.h"

namespace stepback {

void WatchStream::OnBegin() {
  call().OnMessageReceived();
  const absl::Status status = Start();
  if (!status.ok()) FinishWith(status);
}

absl::Status WatchStream::Start() {
  v1::WatchVersionsRequest request;
  RETURN_IF_ERROR(ParseMessage(*request_, &request));
  RETURN_IF_ERROR(CheckModelName(request.model(), "model"));
  ASSIGN_OR_RETURN(model_, context_.engine->Find(request.model()));
  SendCurrent();
  return absl::OkStatus();
}

void WatchStream::SendCurrent() {
  if (writing()) return;
  wait_.reset();
  timer_.Stop();
  const ModelInfo info = model_->Info();
  sent_ = info.version->version;
  v1::WatchVersionsResponse response;
  *response.mutable_version() = VersionToProto(sent_);
  *response.mutable_durable_version() = VersionToProto(info.durable_version);
  response.set_settings_version(info.version->settings_version);
  response.set_finished(info.version->finished);
  Write(SerializeMessage(response));
}

void WatchStream::WaitForNext() {
  timer_.Start(context_.waiting_interval, Event<bool>([this](bool) { SendCurrent(); }));
  using Pinned = absl::StatusOr<std::shared_ptr<PinnedVersion>>;
  wait_ = model_->WaitNewer(sent_, std::nullopt, Event<Pinned>([this](const Pinned& pin) {
                              pin.ok() ? SendCurrent() : FinishWith(pin.status());
                            }));
}

void WatchStream::OnRelease() {
  timer_.Stop();
  wait_.reset();
}

}  // namespace stepback

#include "server/rpc/pull_stream.h"

#include "server/base/status_macros.h"
#include "server/rpc/message.h"
#include "server/rpc/names.h"
#include "server/rpc/request_convert.h"

namespace stepback {

void PullStream::OnBegin() {
  call().OnMessageReceived();
  v1::PullRequest request;
  absl::Status status = ParseMessage(*request_, &request);
  if (status.ok()) status = Start(request);
  if (!status.ok()) FinishWith(status);
}

absl::Status PullStream::Start(const v1::PullRequest& request) {
  RETURN_IF_ERROR(CheckModelName(request.model(), "model"));
  ASSIGN_OR_RETURN(const PullSpec spec, PullFromProto(request));
  ASSIGN_OR_RETURN(std::shared_ptr<Handle> handle, context().engine->Find(request.model()));
  SetModel(std::move(handle));
  RenewLease(request);
  std::optional<Version> since;
  if (request.has_since()) since = VersionFromProto(request.since());
  if (request.wait() && since) {
    SendNewer(*since, std::nullopt, spec, spec.fragment);
  } else {
    SendVersion(model()->Pin(), spec, since);
  }
  return absl::OkStatus();
}

// A courtesy: reading needs no session, so a session that has ended is told so elsewhere.
void PullStream::RenewLease(const v1::PullRequest& request) {
  if (request.client_id().empty()) return;
  model()->Heartbeat(request.client_id(), request.epoch(), {}, [](const absl::StatusOr<HeartbeatAnswer>&) {});
}

}  // namespace stepback

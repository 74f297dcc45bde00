#include "stepback/model.h"

#include <fmt/format.h>

#include "client/cpp/convert.h"
#include "client/cpp/data_calls.h"
#include "client/cpp/methods.h"
#include "client/cpp/model_impl.h"
#include "client/cpp/retry.h"
#include "client/cpp/worker_impl.h"
#include "server/base/errors.h"
#include "server/base/status_macros.h"

namespace stepback::client {

absl::Status CheckFragment(const ModelImpl& model, std::optional<uint32_t> fragment) {
  const size_t size = model.info.fragments.size();
  if (!fragment || *fragment < size) return absl::OkStatus();
  return Error(
      absl::StatusCode::kInvalidArgument, "FRAGMENT_INVALID",
      size == 0
          ? fmt::format("model '{}': fragment is {}, the model has no fragments", model.name(), *fragment)
          : fmt::format("model '{}': fragment is {}, expected 0..{}", model.name(), *fragment, size - 1));
}

Model::Model(std::shared_ptr<const ModelImpl> impl) : impl_(std::move(impl)) {}

const std::string& Model::name() const { return impl_->name(); }
const std::vector<Tensor>& Model::tensors() const { return impl_->tensors(); }
const std::string& Model::fingerprint() const { return impl_->info.fingerprint; }
uint64_t Model::elements() const { return impl_->info.parameters; }
const ModelInfo& Model::info() const { return impl_->info; }
bool Model::created() const { return impl_->created; }

absl::StatusOr<std::unique_ptr<Worker>> Model::Join(const std::string& client_id,
                                                    const JoinOptions& options) const {
  ASSIGN_OR_RETURN(std::unique_ptr<WorkerImpl> worker, WorkerImpl::Join(impl_, client_id, options));
  return std::make_unique<Worker>(std::move(worker));
}

absl::StatusOr<PullInfo> Model::Pull(std::span<const TensorSink> sinks, const PullOptions& options) const {
  ServerImpl* server = impl_->server.get();
  const ConnectOptions& connect = server->options();
  ASSIGN_OR_RETURN(const kernels::CodecInfo* codec, CodecNamed(options.codec));
  RETURN_IF_ERROR(CheckFragment(*impl_, options.fragment));
  const std::vector<ElementRange>& within = options.fragment && options.ranges.empty()
                                                ? impl_->info.fragments[*options.fragment].ranges
                                                : options.ranges;
  ASSIGN_OR_RETURN(const std::vector<ElementRange> ranges,
                   WantedRanges(impl_->tensors(), sinks, nullptr, within));
  ASSIGN_OR_RETURN(const PayloadLayout layout,
                   PayloadLayout::Make(impl_->tensors(), *codec, Direction::kPull, {}, ranges));
  RETURN_IF_ERROR(CheckSinks(layout, impl_->tensors(), sinks));
  v1::PullRequest request;
  request.set_model(impl_->name());
  request.set_view(DefaultView(impl_->info.definition.mode, options.view));
  if (options.since) *request.mutable_since() = ToProto(*options.since);
  request.set_wait(options.wait);
  request.set_codec(std::string(codec->name));
  AddRanges(ranges, request.mutable_ranges());
  if (options.fragment) request.set_fragment(*options.fragment);
  request.set_chunk_bytes(connect.chunk_bytes);

  PullSink sink(&layout, sinks, nullptr);
  std::optional<TimePoint> deadline;
  if (options.timeout.count() > 0) deadline = Clock::Real()->Now() + options.timeout;
  Retry retry(connect.retry, server->interrupt(), deadline);
  const std::shared_ptr<Transport> transport = server->connector()->Bulk();
  for (;;) {
    Download download(&sink, impl_->info.fingerprint);
    const StreamOptions streams{.timeout = retry.TimeLeft(), .idle = connect.idle_timeout};
    ByteCounts bytes;
    const absl::Status status =
        PullOnce(transport.get(), request, &download, streams, server->interrupt(), &bytes);
    if (status.ok()) return download.info();
    RETURN_IF_ERROR(retry.Wait(status));
  }
}

absl::Status Model::Watch(const std::function<bool(const VersionEvent&)>& on_change) const {
  ServerImpl* server = impl_->server.get();
  v1::WatchVersionsRequest request;
  request.set_model(impl_->name());
  Retry retry(server->options().retry, server->interrupt());
  for (;;) {
    std::unique_ptr<Stream> stream =
        server->connector()->Control()->Open(methods::kWatchVersions, {}, server->interrupt());
    stream->Write({.head = request.SerializeAsString()}, /*last=*/true);
    absl::Status status;
    for (Event event = stream->Next();; event = stream->Next()) {
      if (event.kind == Event::Kind::kEnd) {
        status = event.status;
        break;
      }
      if (event.kind != Event::Kind::kMessage) continue;
      v1::WatchVersionsResponse response;
      RETURN_IF_ERROR(ParseMessage(event.message, &response));
      retry.Progress();
      if (!on_change(FromProto(response))) return absl::OkStatus();
    }
    if (status.ok()) status = absl::UnavailableError("WatchVersions: the server ended the stream");
    RETURN_IF_ERROR(retry.Wait(status));
  }
}

absl::Status Model::ReportMetrics(Version version, const std::map<std::string, double>& values) const {
  v1::ReportMetricsRequest request;
  request.set_model(impl_->name());
  *request.mutable_version() = ToProto(version);
  request.mutable_values()->insert(values.begin(), values.end());
  return impl_->server->CallIdempotent<v1::ReportMetricsResponse>(methods::kReportMetrics, request).status();
}

}  // namespace stepback::client

#include "client/cpp/data_calls.h"

#include <fmt/format.h>

#include "client/cpp/message.h"
#include "client/cpp/methods.h"
#include "server/base/clock.h"
#include "server/base/status_macros.h"

namespace stepback::client {
namespace {

CallLimits Limits(const StreamOptions& options) { return {.timeout = options.timeout, .idle = options.idle}; }

void CountSent(const Upload& upload, ByteCounts* counts) {
  counts->payload_sent += upload.payload_bytes();
  counts->wire_sent += upload.wire_bytes();
}

// Routes one message of a Pull or a Step (which share the fields from `waiting` on) to the download. Other
// fields are left in `*message` for the caller.
template <typename Message>
absl::Status Route(const Payload& bytes, Message* message, Download* download, ByteCounts* counts) {
  counts->wire_received += bytes.size() + kMessageFrameBytes;
  ReceivedChunk chunk;
  ASSIGN_OR_RETURN(const bool is_chunk, DecodeChunk(bytes, Message::kChunkFieldNumber, &chunk));
  if (is_chunk) {
    counts->payload_received += chunk.data.size();
    return download->OnChunk(chunk);
  }
  RETURN_IF_ERROR(ParseMessage(bytes, message));
  if (message->has_header()) return download->OnHeader(message->header());
  if (message->has_commit()) return download->OnCommit(message->commit());
  return absl::OkStatus();
}

absl::Status Incomplete(const char* call) {
  return absl::UnavailableError(fmt::format("{}: the stream ended without its commit", call));
}

// The events of one Step, in the order of their arrival.
class StepRun {
 public:
  StepRun(Stream* stream, PushJob* job, const std::string& header, Download* download, uint64_t chunk_bytes,
          ByteCounts* counts)
      : stream_(stream),
        source_(job->source.get()),
        upload_(stream, header, v1::StepRequest::kChunkFieldNumber, job->source.get(),
                job->header.resume_offset(), chunk_bytes),
        download_(download),
        counts_(counts) {}

  StepAttempt Run() {
    upload_.Start();
    while (!ended_) {
      attempt_.status = Handle(stream_->Next());
      if (!attempt_.status.ok()) break;
    }
    CountSent(upload_, counts_);
    return std::move(attempt_);
  }

 private:
  absl::Status Handle(Event event) {
    switch (event.kind) {
      case Event::Kind::kWritten:
        RETURN_IF_ERROR(upload_.Continue());
        if (upload_.done()) uploaded_at_ = Clock::Real()->Now();
        return absl::OkStatus();
      case Event::Kind::kMessage:
        return OnMessage(event.message);
      case Event::Kind::kEnd:
        ended_ = true;
        if (event.status.ok() && !(attempt_.accepted && download_->complete())) return Incomplete("Step");
        return event.status;
    }
    return absl::OkStatus();
  }

  absl::Status OnMessage(const Payload& bytes) {
    v1::StepResponse message;
    const bool first = !download_->has_header();
    RETURN_IF_ERROR(Route(bytes, &message, download_, counts_));
    if (message.has_accepted()) {
      attempt_.accepted = std::move(*message.mutable_accepted());
      upload_.Stop();
      // Before the first chunk of the answer: the sinks may be the memory that the push is made from.
      RETURN_IF_ERROR(source_->Complete());
    }
    if (first && download_->has_header() && uploaded_at_) {
      attempt_.wait_seconds = std::chrono::duration<double>(Clock::Real()->Now() - *uploaded_at_).count();
    }
    return absl::OkStatus();
  }

  Stream* const stream_;
  ChunkSource* const source_;
  Upload upload_;
  Download* const download_;
  ByteCounts* const counts_;
  StepAttempt attempt_;
  std::optional<TimePoint> uploaded_at_;
  bool ended_ = false;
};

}  // namespace

absl::Status UploadOnce(Transport* transport, UploadCall call, const StreamOptions& options,
                        Interrupt* interrupt, ByteCounts* counts, google::protobuf::MessageLite* response) {
  std::unique_ptr<Stream> stream = transport->Open(call.method, Limits(options), interrupt);
  Upload upload(stream.get(), std::move(call.header), call.chunk_field, call.source, call.resume_offset,
                options.chunk_bytes);
  bool answered = false, ended = false;
  absl::Status status;
  upload.Start();
  while (!ended && status.ok()) {
    Event event = stream->Next();
    if (event.kind == Event::Kind::kWritten) {
      status = upload.Continue();
      // The answer to a complete upload may take as long as other workers' replays (decisions 8).
      if (upload.done()) stream->SetIdleLimit({});
    } else if (event.kind == Event::Kind::kMessage) {
      counts->wire_received += event.message.size() + kMessageFrameBytes;
      status = ParseMessage(event.message, response);
      answered = true;
      upload.Stop();
    } else {
      ended = true;
      status = event.status;
    }
  }
  CountSent(upload, counts);
  if (status.ok() && !answered)
    return absl::InternalError(fmt::format("{}: ended without a response", call.method));
  return status;
}

absl::StatusOr<v1::PushResponse> PushOnce(Transport* transport, PushJob* job, const StreamOptions& options,
                                          Interrupt* interrupt, ByteCounts* counts) {
  v1::PushRequest first;
  *first.mutable_header() = job->header;
  UploadCall call{.method = methods::kPush,
                  .header = first.SerializeAsString(),
                  .chunk_field = v1::PushRequest::kChunkFieldNumber,
                  .source = job->source.get(),
                  .resume_offset = job->header.resume_offset()};
  v1::PushResponse response;
  RETURN_IF_ERROR(UploadOnce(transport, std::move(call), options, interrupt, counts, &response));
  return response;
}

absl::Status PullOnce(Transport* transport, const v1::PullRequest& request, Download* download,
                      const StreamOptions& options, Interrupt* interrupt, ByteCounts* counts) {
  std::unique_ptr<Stream> stream = transport->Open(methods::kPull, Limits(options), interrupt);
  OutMessage message{.head = request.SerializeAsString()};
  counts->wire_sent += message.size() + kMessageFrameBytes;
  stream->Write(std::move(message), /*last=*/true);
  for (;;) {
    Event event = stream->Next();
    if (event.kind == Event::Kind::kEnd) {
      return event.status.ok() && !download->complete() ? Incomplete("Pull") : event.status;
    }
    if (event.kind == Event::Kind::kMessage) {
      v1::PullResponse response;
      RETURN_IF_ERROR(Route(event.message, &response, download, counts));
    }
  }
}

StepAttempt StepOnce(Transport* transport, PushJob* job, const v1::PullRequest& pull, Download* download,
                     const StreamOptions& options, Interrupt* interrupt, ByteCounts* counts) {
  std::unique_ptr<Stream> stream = transport->Open(methods::kStep, Limits(options), interrupt);
  v1::StepRequest first;
  *first.mutable_header()->mutable_push() = job->header;
  *first.mutable_header()->mutable_pull() = pull;
  return StepRun(stream.get(), job, first.SerializeAsString(), download, options.chunk_bytes, counts).Run();
}

}  // namespace stepback::client

#include "tests/fakes/transport.h"

#include <chrono>
#include <deque>
#include <thread>
#include <utility>

#include "client/cpp/message.h"
#include "server/base/mutex.h"

namespace stepback::fakes {
namespace {

using client::Event;
using client::OutMessage;

constexpr size_t kQueueMax = 4;
constexpr std::chrono::milliseconds kLook{5};

// Both directions of one call.
struct Pipe {
  Mutex mu;
  CondVar changed;
  std::deque<OutMessage> up
      GUARDED_BY(mu);  // the payloads stay where the client has them until they are read
  bool up_closed GUARDED_BY(mu) = false;
  std::deque<std::string> down GUARDED_BY(mu);
  bool client_gone GUARDED_BY(mu) = false;
  bool ended GUARDED_BY(mu) = false;
  absl::Status status GUARDED_BY(mu);
};

bool ReadUp(Pipe* pipe, std::string* bytes) {
  MutexLock lock(&pipe->mu);
  while (pipe->up.empty() && !pipe->up_closed && !pipe->client_gone) pipe->changed.Wait(&pipe->mu);
  if (pipe->up.empty() || pipe->client_gone) return false;
  // Under the lock: a client that cancels waits here until its memory is no longer read.
  *bytes = pipe->up.front().head + client::Flatten(pipe->up.front().payload);
  pipe->up.pop_front();
  pipe->changed.NotifyAll();
  return true;
}

bool WriteDown(Pipe* pipe, std::string bytes) {
  MutexLock lock(&pipe->mu);
  while (pipe->down.size() >= kQueueMax && !pipe->client_gone) pipe->changed.Wait(&pipe->mu);
  if (pipe->client_gone) return false;
  pipe->down.push_back(std::move(bytes));
  pipe->changed.NotifyAll();
  return true;
}

template <typename Message>
Read<Message> Reader(Pipe* pipe) {
  return [pipe](Message* message) {
    std::string bytes;
    return ReadUp(pipe, &bytes) && message->ParseFromString(bytes);
  };
}

template <typename Message>
Write<Message> Writer(Pipe* pipe) {
  return [pipe](const Message& message) { return WriteDown(pipe, message.SerializeAsString()); };
}

Alive AliveOf(Pipe* pipe) {
  return [pipe] {
    MutexLock lock(&pipe->mu);
    return !pipe->client_gone;
  };
}

// A handler with one response.
template <typename Response, typename Handle>
absl::Status OneResponse(Pipe* pipe, Handle handle) {
  Response response;
  absl::Status status = handle(&response);
  if (status.ok()) WriteDown(pipe, response.SerializeAsString());
  return status;
}

absl::Status Serve(TrainingServer* server, const std::string& method, Pipe* pipe) {
  const std::string name = method.substr(method.rfind('/') + 1);
  if (name == "Push") {
    return OneResponse<v1::PushResponse>(pipe, [&](auto* response) {
      return server->Push(Reader<v1::PushRequest>(pipe), AliveOf(pipe), response);
    });
  }
  if (name == "CreateModel") {
    return OneResponse<v1::CreateModelResponse>(
        pipe, [&](auto* response) { return server->Create(Reader<v1::CreateModelRequest>(pipe), response); });
  }
  if (name == "ImportModel") {
    return OneResponse<v1::ImportModelResponse>(
        pipe, [&](auto* response) { return server->Import(Reader<v1::ImportModelRequest>(pipe), response); });
  }
  if (name == "Step") {
    return server->Step(Reader<v1::StepRequest>(pipe), AliveOf(pipe), Writer<v1::StepResponse>(pipe));
  }
  std::string request;
  if (!ReadUp(pipe, &request)) return absl::CancelledError("no request");
  if (name == "Pull") {
    v1::PullRequest pull;
    pull.ParseFromString(request);
    return server->Pull(pull, AliveOf(pipe), Writer<v1::PullResponse>(pipe));
  }
  if (name == "WatchVersions") {
    return server->Watch({}, AliveOf(pipe), Writer<v1::WatchVersionsResponse>(pipe));
  }
  if (name == "ExportModel") return server->Export({}, Writer<v1::ExportModelResponse>(pipe));
  std::string response;
  absl::Status status = server->Unary(method, request, &response);
  if (status.ok()) WriteDown(pipe, std::move(response));
  return status;
}

class InProcessStream final : public client::Stream {
 public:
  InProcessStream(TrainingServer* server, const std::string& method, const client::CallLimits& limits,
                  client::Interrupt* interrupt)
      : interrupt_(interrupt),
        start_(std::chrono::steady_clock::now()),
        timeout_(limits.timeout),
        idle_(limits.idle) {
    handler_ = std::thread([this, server, method] {
      absl::Status status = Serve(server, method, &pipe_);
      MutexLock lock(&pipe_.mu);
      pipe_.ended = true;
      pipe_.status = std::move(status);
      pipe_.changed.NotifyAll();
    });
  }

  ~InProcessStream() override {
    {
      MutexLock lock(&pipe_.mu);
      pipe_.client_gone = true;
      pipe_.up.clear();
      pipe_.changed.NotifyAll();
    }
    handler_.join();
  }

  void Write(OutMessage message, bool last) override {
    MutexLock lock(&pipe_.mu);
    pipe_.up.push_back(std::move(message));
    pipe_.up_closed = last;
    writing_ = true;
    pipe_.changed.NotifyAll();
  }

  void HalfClose() override {
    MutexLock lock(&pipe_.mu);
    pipe_.up_closed = true;
    pipe_.changed.NotifyAll();
  }

  Event Next() override {
    const auto begin = std::chrono::steady_clock::now();
    for (;;) {
      const absl::Status limit = CheckLimits(begin);
      MutexLock lock(&pipe_.mu);
      if (!limit.ok()) return {.kind = Event::Kind::kEnd, .status = limit};
      if (!pipe_.down.empty()) return TakeMessage();
      if (pipe_.ended) return {.kind = Event::Kind::kEnd, .status = pipe_.status};
      if (writing_ && pipe_.up.size() < kQueueMax) {
        writing_ = false;
        return {.kind = Event::Kind::kWritten};
      }
      pipe_.changed.WaitFor(&pipe_.mu, kLook);
    }
  }

  void SetIdleLimit(std::chrono::nanoseconds idle) override { idle_ = idle; }

 private:
  Event TakeMessage() REQUIRES(pipe_.mu) {
    const auto bytes = std::make_shared<const std::string>(std::move(pipe_.down.front()));
    pipe_.down.pop_front();
    pipe_.changed.NotifyAll();
    Event event{.kind = Event::Kind::kMessage};
    // In pieces, as a network delivers them.
    constexpr size_t kPiece = 37;
    for (size_t at = 0; at < bytes->size(); at += kPiece) {
      const size_t size = std::min(kPiece, bytes->size() - at);
      event.message.Append({reinterpret_cast<const std::byte*>(bytes->data()) + at, size}, bytes);
    }
    return event;
  }

  absl::Status CheckLimits(std::chrono::steady_clock::time_point begin) const {
    const auto now = std::chrono::steady_clock::now();
    if (timeout_.count() > 0 && now - start_ > timeout_)
      return absl::DeadlineExceededError("Deadline Exceeded");
    if (idle_.count() > 0 && now - begin > idle_) return absl::UnavailableError("idle");
    return interrupt_->Check();
  }

  client::Interrupt* const interrupt_;
  const std::chrono::steady_clock::time_point start_;
  const std::chrono::nanoseconds timeout_;
  std::chrono::nanoseconds idle_;
  Pipe pipe_;
  bool writing_ = false;
  std::thread handler_;
};

}  // namespace

std::unique_ptr<client::Stream> InProcessTransport::Open(const std::string& method,
                                                         const client::CallLimits& limits,
                                                         client::Interrupt* interrupt) {
  return std::make_unique<InProcessStream>(server_, method, limits, interrupt);
}

}  // namespace stepback::fakes

// What every streaming call shares: one event at a time (CallStrand), one Finish, and a life that ends when
// the transport and the engine have both let go. A stream reacts in its On... functions and never blocks.
//
// Owner: itself, until OnDone; callbacks given to the engine hold it weakly. Thread: events come from gRPC's
// and the engine's threads and run one at a time.
//
//   class PushStream final : public ReadStream { void OnMessage(const grpc::ByteBuffer&) override; ... };
//   return StartStream<PushStream>(guard.Admit(Method::kPush, context), engine, response);
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/base/errors.h"
#include "server/rpc/call_strand.h"
#include "server/rpc/guard.h"
#include "server/rpc/to_grpc.h"

namespace stepback {

using ByteReadReactor = grpc::ServerReadReactor<grpc::ByteBuffer>;
using ByteWriteReactor = grpc::ServerWriteReactor<grpc::ByteBuffer>;
using ByteBidiReactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

template <typename Reactor>
class Stream : public Reactor, public std::enable_shared_from_this<Stream<Reactor>> {
 public:
  // Called once, by StartStream: from here on the stream owns itself.
  void Begin() {
    self_ = this->shared_from_this();
    Post([this] { call_.admitted().ok() ? OnBegin() : FinishWith(call_.admitted()); });
  }

 protected:
  explicit Stream(Call call) : call_(std::move(call)) {}

  // The first event of an admitted call.
  virtual void OnBegin() = 0;
  // Drops everything the call holds (uploads, pins, waits); called once, before the call is finished.
  virtual void OnRelease() = 0;

  const Call& call() const { return call_; }
  bool finished() const { return finished_; }

  // Runs `event` as the call's next event, unless the call is finished by then.
  void Post(std::function<void()> event) {
    const auto alive = this->shared_from_this();
    strand_.Post([this, event = std::move(event)] {
      if (finished_) return;
      const absl::Status status = RunContained(call_.method(), event);
      if (!status.ok() && !finished_) FinishWith(status);
    });
  }

  // A callback for the engine or a timer: posts `handler` with the result; nothing when the stream is gone.
  template <typename T>
  std::function<void(T)> Event(std::function<void(T)> handler) {
    return [weak = this->weak_from_this(), handler = std::move(handler)](T result) {
      const auto self = weak.lock();
      if (self != nullptr) self->Post([handler, result = std::move(result)] { handler(result); });
    };
  }

  void FinishWith(const absl::Status& status) {
    PrepareFinish(status);
    this->Finish(ToGrpc(status));
  }

  // The bookkeeping of an end; the caller then ends the call itself (StartWriteAndFinish).
  void PrepareFinish(const absl::Status& status) {
    finished_ = true;
    OnRelease();
    call_.Finish(status);
  }

 private:
  void OnCancel() final {
    Post([this] {
      FinishWith(Error(absl::StatusCode::kCancelled, "CANCELLED", "the caller ended the call"));
    });
  }

  void OnDone() final {
    const auto alive = this->shared_from_this();
    strand_.Post([this] { self_.reset(); });
  }

  Call call_;
  CallStrand strand_;
  bool finished_ = false;
  std::shared_ptr<Stream> self_;
};

// Calls that receive a stream (also as one half of a bidirectional call): one message at a time, the next
// only when ReadNext asks for it. That is the back-pressure.
template <typename Reactor>
class Receiving : public Stream<Reactor> {
 protected:
  using Stream<Reactor>::Stream;

  virtual void OnMessage(const grpc::ByteBuffer& message) = 0;
  // The caller has half-closed: no more messages.
  virtual void OnEnd() = 0;

  void ReadNext() { this->StartRead(&incoming_); }

 private:
  void OnReadDone(bool ok) final {
    this->Post([this, ok] { ok ? Received() : OnEnd(); });
  }
  void Received() {
    this->call().OnMessageReceived();
    grpc::ByteBuffer message;
    message.Swap(&incoming_);  // so that nothing here keeps the slices once the handler has let go
    OnMessage(message);
  }

  grpc::ByteBuffer incoming_;
};

// Calls that send a stream: one write at a time; OnWritten asks for the next.
template <typename Base>
class Sending : public Base {
 protected:
  using Base::Base;

  // The last Write is done: another may follow.
  virtual void OnWritten() = 0;

  bool writing() const { return writing_; }

  void Write(grpc::ByteBuffer message, grpc::WriteOptions options = {}) {
    writing_ = true;
    outgoing_.Swap(&message);
    this->call().OnMessageSent();
    this->StartWrite(&outgoing_, options);
  }

  // The last message and an OK status in one go.
  void WriteAndFinish(grpc::ByteBuffer message) {
    outgoing_.Swap(&message);
    this->call().OnMessageSent();
    this->PrepareFinish(absl::OkStatus());
    this->StartWriteAndFinish(&outgoing_, grpc::WriteOptions(), grpc::Status::OK);
  }

 private:
  void OnWriteDone(bool ok) final {
    this->Post([this, ok] {
      writing_ = false;
      outgoing_.Clear();
      if (ok) OnWritten();  // otherwise the call is over and OnCancel follows
    });
  }

  grpc::ByteBuffer outgoing_;
  bool writing_ = false;
};

using ReadStream = Receiving<ByteReadReactor>;
using WriteStream = Sending<Stream<ByteWriteReactor>>;
using BidiStream = Sending<Receiving<ByteBidiReactor>>;

template <typename T, typename... Args>
T* StartStream(Args&&... args) {
  const auto stream = std::make_shared<T>(std::forward<Args>(args)...);
  stream->Begin();
  return stream.get();
}

}  // namespace stepback

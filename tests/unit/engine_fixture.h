// Runs an Engine in process on a fake clock and a fake disk, and turns its callbacks into values.
//
//   EngineFixture server;                                   // data directory "/data", nothing created yet
//   auto model = server.Create(DeltaSpec("lm", {100}), Ramp(100));
//   Worker worker(model, "w0");
//   EXPECT_EQ(worker.Push(Constant(100, 1)).answer->version.counter, 1u);
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "server/base/crc32c.h"
#include "server/base/errors.h"
#include "server/base/pool.h"
#include "server/base/thread_executor.h"
#include "server/engine/engine.h"
#include "server/telemetry/log.h"
#include "server/telemetry/metrics.h"
#include "tests/fakes/clock.h"
#include "tests/fakes/file_system.h"

namespace stepback {

// The value that `start` hands to its callback. A callback that does not come within a minute fails the test.
template <typename T>
absl::StatusOr<T> Await(const std::function<void(Done<T>)>& start) {
  auto promise = std::make_shared<std::promise<absl::StatusOr<T>>>();
  auto calls = std::make_shared<std::atomic<int>>(0);
  std::future<absl::StatusOr<T>> future = promise->get_future();
  start([promise, calls](absl::StatusOr<T> value) {
    ASSERT_EQ(++*calls, 1) << "a callback was called twice";
    promise->set_value(std::move(value));
  });
  if (future.wait_for(std::chrono::minutes(1)) != std::future_status::ready) {
    ADD_FAILURE() << "no answer";
    return absl::DeadlineExceededError("no answer");
  }
  return future.get();
}

inline absl::Status AwaitStatus(const std::function<void(std::function<void(absl::Status)>)>& start) {
  return Await<bool>([&](Done<bool> done) {
           start([done](const absl::Status& status) {
             done(status.ok() ? absl::StatusOr<bool>(true) : absl::StatusOr<bool>(status));
           });
         })
      .status();
}

// A callback whose value is looked at later.
template <typename T>
class Later {
 public:
  Done<T> done() {
    return [state = state_](absl::StatusOr<T> value) {
      ASSERT_EQ(++state->calls, 1) << "a callback was called twice";
      state->promise.set_value(std::move(value));
    };
  }
  bool ready() const { return state_->calls > 0; }
  absl::StatusOr<T> Get() {
    if (future_.wait_for(std::chrono::minutes(1)) == std::future_status::ready) return future_.get();
    ADD_FAILURE() << "no answer";
    return absl::DeadlineExceededError("no answer");
  }

 private:
  struct State {
    std::promise<absl::StatusOr<T>> promise;
    std::atomic<int> calls{0};
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
  std::future<absl::StatusOr<T>> future_ = state_->promise.get_future();
};

MATCHER_P2(Refused, code, reason, "") {
  const absl::Status status = absl::Status(arg);
  *result_listener << status.ToString();
  return status.code() == code && ReasonOf(status) == reason;
}

// Waits for what another thread is about to do (memory that its last holder lets go of); false after a
// minute.
inline bool Eventually(const std::function<bool()>& condition) {
  const TimePoint end = Clock::Real()->Now() + std::chrono::minutes(1);
  while (!condition()) {
    if (Clock::Real()->Now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

// --- bytes ---

inline std::vector<std::byte> BytesOfFloats(const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(float));
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

inline std::vector<float> FloatsOf(const std::vector<std::byte>& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

inline Payload PayloadOf(std::vector<std::byte> bytes) {
  auto owner = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  Payload payload;
  payload.Append({owner->data(), owner->size()}, owner);
  return payload;
}

// The same bytes, cut into slices of `slice_bytes`.
inline Payload SlicedPayload(const std::vector<std::byte>& bytes, size_t slice_bytes) {
  Payload payload;
  for (size_t at = 0; at < bytes.size(); at += slice_bytes) {
    const size_t end = std::min(bytes.size(), at + slice_bytes);
    payload.Append(PayloadOf({bytes.begin() + at, bytes.begin() + end}));
  }
  return payload;
}

inline std::vector<std::byte> Joined(const Payload& payload) {
  std::vector<std::byte> bytes;
  for (const kernels::ByteSpan& span : payload.view().spans())
    bytes.insert(bytes.end(), span.data, span.data + span.size);
  return bytes;
}

inline std::vector<float> Constant(size_t count, float value) { return std::vector<float>(count, value); }

inline std::vector<float> Ramp(size_t count, float scale = 1) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i)
    values[i] = scale * static_cast<float>(static_cast<int>(i % 251) - 125) / 16;
  return values;
}

inline absl::Status AddAll(Upload* upload, const std::vector<std::byte>& bytes, uint64_t from = 0,
                           size_t chunk_bytes = 1 << 16, size_t slice_bytes = 1 << 20) {
  for (uint64_t at = from; at < bytes.size(); at += chunk_bytes) {
    const size_t end = std::min<size_t>(bytes.size(), at + chunk_bytes);
    const std::vector<std::byte> chunk(bytes.begin() + at, bytes.begin() + end);
    const absl::Status added =
        upload->AddChunk(at, Crc32c(chunk.data(), chunk.size()), SlicedPayload(chunk, slice_bytes));
    if (!added.ok()) return added;
  }
  return absl::OkStatus();
}

// --- models ---

inline ModelSpec DeltaSpec(const std::string& name, std::vector<uint64_t> sizes) {
  ModelSpec spec{.name = name};
  for (size_t i = 0; i < sizes.size(); ++i)
    spec.tensors.push_back({.name = "t" + std::to_string(i), .shape = {sizes[i]}});
  spec.mode = Mode::kDelta;
  spec.outer = {.name = "average", .values = {{"alpha", 1}}};
  return spec;
}

// Plain SGD with lr 1 (theta -= g), Lookahead with k and alpha.
inline ModelSpec GradientSpec(const std::string& name, std::vector<uint64_t> sizes, uint32_t sync_period = 2,
                              double alpha = 0.5) {
  ModelSpec spec = DeltaSpec(name, std::move(sizes));
  spec.mode = Mode::kGradient;
  spec.inner = {.name = "sgd", .values = {{"lr", 1}}};
  spec.outer = {.name = "lookahead", .values = {{"alpha", alpha}}};
  spec.sync_period = sync_period;
  return spec;
}

class EngineFixture {
 public:
  explicit EngineFixture(std::string data_dir = "/data") : data_dir_(std::move(data_dir)) {
    SetLogLevel(LogLevel::kOff);
    Start();
  }

  Engine::Options Options() {
    Engine::Options options;
    options.data_dir = data_dir_;
    options.file_system = &disk;
    options.clock = &clock;
    options.backend = backend.get();
    options.executor = &executor;
    options.strand_threads = 2;
    options.pool = &pool;
    options.metrics = &metrics;
    options.ticker = false;
    options.log_segment_bytes = 1 << 20;  // the fake disk keeps preallocated room in memory
    return options;
  }

  void Start() { Start(Options()); }
  void Start(const Engine::Options& options) {
    engine.reset();
    absl::StatusOr<std::unique_ptr<Engine>> started = Engine::Start(options);
    ASSERT_TRUE(started.ok()) << started.status();
    engine = *std::move(started);
  }

  absl::StatusOr<Created> TryCreate(const ModelSpec& spec, const std::vector<std::byte>& weights) {
    auto upload = engine->StartCreate(spec, /*zeros=*/false, /*codec=*/0, weights.size());
    if (!upload.ok()) return upload.status();
    for (size_t at = 0; at < weights.size(); at += 1 << 20) {
      const size_t end = std::min<size_t>(weights.size(), at + (1 << 20));
      std::vector<std::byte> chunk(weights.begin() + at, weights.begin() + end);
      const uint32_t crc = Crc32c(chunk.data(), chunk.size());
      if (absl::Status added = (*upload)->AddChunk(at, crc, PayloadOf(std::move(chunk))); !added.ok())
        return added;
    }
    return Await<Created>([&](Done<Created> done) { (*upload)->Finish(done); });
  }

  std::shared_ptr<Handle> Create(const ModelSpec& spec, const std::vector<std::byte>& weights) {
    absl::StatusOr<Created> created = TryCreate(spec, weights);
    EXPECT_TRUE(created.ok()) << created.status();
    return created.ok() ? created->handle : nullptr;
  }
  std::shared_ptr<Handle> Create(const ModelSpec& spec, const std::vector<float>& weights) {
    return Create(spec, BytesOfFloats(weights));
  }

  // Everything that was posted to the model's strands has run.
  void Quiesce(Handle* model) {
    for (int i = 0; i < 3; ++i) {
      Await<std::vector<SessionInfo>>([&](auto done) { model->Sessions(done); }).IgnoreError();
      Await<std::vector<SnapshotInfo>>([&](auto done) { model->ListSnapshots(done); }).IgnoreError();
    }
  }
  void Advance(Handle* model, Duration by) {
    clock.Advance(by);
    engine->Tick();
    Quiesce(model);
  }

  FakeClock clock;
  FakeFileSystem disk;
  BufferPool pool;
  ThreadExecutor executor{2};
  telemetry::Metrics metrics;
  std::unique_ptr<kernels::Backend> backend = kernels::MakeCpuBackend("generic", &pool);
  std::unique_ptr<Engine> engine;

 private:
  const std::string data_dir_;
};

inline std::string HashOf(Handle* model) {
  absl::StatusOr<std::string> hash = Await<std::string>([&](auto done) { model->StateHash(done); });
  EXPECT_TRUE(hash.ok()) << hash.status();
  return hash.value_or("");
}

// All bytes of one version.
inline absl::StatusOr<std::vector<std::byte>> ReadAll(Handle* model, const PullSpec& spec,
                                                      std::shared_ptr<PinnedVersion> pin = nullptr) {
  if (pin == nullptr) pin = model->Pin();
  absl::StatusOr<std::unique_ptr<PullReader>> reader = model->Read(pin, spec);
  if (!reader.ok()) return reader.status();
  std::vector<std::byte> all;
  for (uint64_t i = 0; i < (*reader)->chunk_count(); ++i) {
    absl::StatusOr<PullReader::ChunkOut> chunk = (*reader)->Chunk(i);
    if (!chunk.ok()) return chunk.status();
    EXPECT_EQ(chunk->offset, all.size());
    const std::vector<std::byte> bytes = Joined(chunk->data);
    EXPECT_EQ(chunk->crc32c, Crc32c(bytes.data(), bytes.size()));
    all.insert(all.end(), bytes.begin(), bytes.end());
  }
  EXPECT_EQ(all.size(), (*reader)->total_bytes());
  return all;
}

inline std::vector<float> Weights(Handle* model, View view = View::kEval) {
  absl::StatusOr<std::vector<std::byte>> bytes = ReadAll(model, {.view = view});
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return bytes.ok() ? FloatsOf(*bytes) : std::vector<float>();
}

inline absl::StatusOr<UploadStart> StartUpload(Handle* model, const UploadRequest& request) {
  std::unique_ptr<Cancel> cancel;
  return Await<UploadStart>([&](Done<UploadStart> done) { cancel = model->StartUpload(request, done); });
}

// A client with a session, its numbers and the version that it has.
class Worker {
 public:
  Worker(std::shared_ptr<Handle> model, std::string id, SessionRole role = SessionRole::kTrainer)
      : model_(std::move(model)), id_(std::move(id)) {
    absl::StatusOr<SessionOpened> opened = Open(role);
    EXPECT_TRUE(opened.ok()) << opened.status();
  }

  absl::StatusOr<SessionOpened> Open(SessionRole role = SessionRole::kTrainer) {
    absl::StatusOr<SessionOpened> opened =
        Await<SessionOpened>([&](auto done) { model_->Open({.client_id = id_, .role = role}, done); });
    if (!opened.ok()) return opened;
    epoch_ = opened->session.epoch;
    sequence_ = opened->session.last_sequence;
    base_ = opened->version->version;
    return opened;
  }

  // The request of the next push; `bytes` long.
  UploadRequest Next(uint64_t bytes) {
    const auto version = model_->Info().version;
    UploadRequest request;
    request.header.client_id = id_;
    request.header.epoch = epoch_;
    request.header.sequence = ++sequence_;
    request.header.kind = version->spec->mode == Mode::kGradient ? PushKind::kGradient : PushKind::kDelta;
    request.header.base = version->version;
    request.total_bytes = bytes;
    return request;
  }

  absl::StatusOr<PushAnswer> Send(const UploadRequest& request, const std::vector<std::byte>& bytes) {
    absl::StatusOr<UploadStart> start = StartUpload(model_.get(), request);
    if (!start.ok()) return start.status();
    if (start->duplicate) return *start->duplicate;
    if (absl::Status added = AddAll(start->upload.get(), bytes); !added.ok()) return added;
    return Await<PushAnswer>([&](Done<PushAnswer> done) { start->upload->Finish(done); });
  }
  absl::StatusOr<PushAnswer> Push(const std::vector<float>& values) {
    const std::vector<std::byte> bytes = BytesOfFloats(values);
    return Send(Next(bytes.size()), bytes);
  }

  const std::string& id() const { return id_; }
  uint64_t epoch() const { return epoch_; }
  uint64_t sequence() const { return sequence_; }
  void set_sequence(uint64_t sequence) { sequence_ = sequence; }

 private:
  const std::shared_ptr<Handle> model_;
  const std::string id_;
  uint64_t epoch_ = 0;
  uint64_t sequence_ = 0;
  Version base_;
};

}  // namespace stepback

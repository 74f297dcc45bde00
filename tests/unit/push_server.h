// A server whose threads are the test's own: everything runs in Ask, in an order drawn from a seed, on a disk
// that forgets what was not synced. For models of durability PUSH that die at any moment.
//
//   PushServer server(seed);
//   auto model = server.Create(spec, weights);
//   server.disk.FailCallsFrom(17);                       // the machine dies there
//   ... server.Ask<PushAnswer>([&](auto done) { upload->Finish(done); });
//   server.PowerCycle(FakeFileSystem::Unsynced::kTorn);  // and comes back
#pragma once

#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "kernels/executor.h"
#include "tests/unit/engine_fixture.h"

namespace stepback {

class PushServer {
 public:
  explicit PushServer(uint64_t seed, bool durable = true) : disk(seed), durable_(durable), random_(seed) {
    SetLogLevel(LogLevel::kOff);
  }

  Engine::Options Options() {
    Engine::Options options;
    if (durable_) options.data_dir = "/data";
    options.file_system = &disk;
    options.clock = &clock;
    options.backend = backend.get();
    options.executor = &executor;
    options.own_threads = false;
    options.pool = &pool;
    options.metrics = &metrics;
    options.ticker = false;
    options.recovery = recovery;
    options.log_segment_bytes = 32 << 10;
    return options;
  }

  absl::Status Start() {
    model.reset();
    engine.reset();
    absl::StatusOr<std::unique_ptr<Engine>> started = Engine::Start(Options());
    if (!started.ok()) return started.status();
    engine = *std::move(started);
    if (const auto found = engine->Find("m"); found.ok()) model = *found;
    return absl::OkStatus();
  }

  // One of the tasks that could run next.
  bool RunOne() {
    return engine->RunOne([this](size_t count) { return random_() % count; });
  }
  void RunAll() {
    while (RunOne()) {
    }
  }

  // UNAVAILABLE when nothing is left to run and no answer has come.
  template <typename T>
  absl::StatusOr<T> Ask(const std::function<void(Done<T>)>& start) {
    auto answer = std::make_shared<std::optional<absl::StatusOr<T>>>();
    start([answer](absl::StatusOr<T> value) {
      EXPECT_FALSE(answer->has_value()) << "a callback was called twice";
      answer->emplace(std::move(value));
    });
    while (!answer->has_value() && RunOne()) {
    }
    if (answer->has_value()) return **answer;
    return absl::UnavailableError("no answer");
  }
  absl::Status AskStatus(const std::function<void(std::function<void(absl::Status)>)>& start) {
    return Ask<bool>([&](Done<bool> done) {
             start([done](const absl::Status& status) {
               done(status.ok() ? absl::StatusOr<bool>(true) : absl::StatusOr<bool>(status));
             });
           })
        .status();
  }

  absl::Status Create(const ModelSpec& spec, const std::vector<float>& weights) {
    const std::vector<std::byte> bytes = BytesOfFloats(weights);
    auto upload = engine->StartCreate(spec, /*zeros=*/false, /*codec=*/0, bytes.size());
    if (!upload.ok()) return upload.status();
    if (absl::Status added = (*upload)->AddChunk(0, Crc32c(bytes.data(), bytes.size()), PayloadOf(bytes));
        !added.ok())
      return added;
    const auto created = Ask<Created>([&](Done<Created> done) { (*upload)->Finish(done); });
    if (created.ok()) model = created->handle;
    return created.status();
  }

  absl::StatusOr<PushAnswer> Send(const UploadRequest& request, const std::vector<std::byte>& bytes,
                                  size_t chunk_bytes = 1 << 16) {
    std::unique_ptr<Cancel> cancel;
    absl::StatusOr<UploadStart> start =
        Ask<UploadStart>([&](Done<UploadStart> done) { cancel = model->StartUpload(request, done); });
    if (!start.ok()) return start.status();
    if (start->duplicate) return *start->duplicate;
    if (absl::Status added = AddAll(start->upload.get(), bytes, 0, chunk_bytes); !added.ok()) return added;
    return Ask<PushAnswer>([&](Done<PushAnswer> done) { start->upload->Finish(done); });
  }

  void Advance(Duration by) {
    clock.Advance(by);
    engine->Tick();
    RunAll();
  }

  // The machine dies now and is started again.
  absl::Status PowerCycle(FakeFileSystem::Unsynced unsynced) {
    disk.FailCallsFrom(disk.calls() + 1);
    model.reset();
    engine.reset();
    disk.Crash(unsynced);
    clock.Advance(std::chrono::seconds(7));  // a pause that no deadline may notice
    return Start();
  }

  // Weights, slots, counters and version, whatever the term.
  std::string Hash() const {
    ModelVersion version = *model->Info().version;
    version.version.term = 0;
    for (FragmentState& fragment : version.fragments) fragment.version.term = 0;
    return stepback::StateHash(version, backend.get()).value_or("?");
  }

  FakeClock clock;
  FakeFileSystem disk;
  BufferPool pool;
  kernels::InlineExecutor executor;
  telemetry::Metrics metrics;
  std::unique_ptr<kernels::Backend> backend = kernels::MakeCpuBackend("generic", &pool);
  LogRecovery recovery = LogRecovery::kStrict;
  std::unique_ptr<Engine> engine;
  std::shared_ptr<Handle> model;  // "m"

 private:
  const bool durable_;
  std::mt19937_64 random_;
};

}  // namespace stepback

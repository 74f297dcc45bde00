// The Nth storage call fails, for every N of a model's whole life (create, push, snapshots, restore, import,
// prune, delete) and of a start: the engine lives on, every step is done or not done, and what was called
// durable comes back.
#include <gtest/gtest.h>

#include <map>

#include "tests/unit/engine_fixture.h"

namespace stepback {
namespace {

constexpr size_t kSize = 300;
constexpr int64_t kCallsMax = 2000;

const absl::Status kErrors[] = {absl::DataLossError("Input/output error"),
                                absl::ResourceExhaustedError("No space left on device")};

class Life {
 public:
  Life()
      : model_(server_.Create(Spec("lm"), Constant(kSize, 8))),
        worker_(std::make_unique<Worker>(model_, "w")) {
    Note();
  }

  // Returns how many storage calls it made.
  int64_t Run(int64_t fail, const absl::Status& error) {
    server_.disk.ResetCalls();
    server_.disk.FailCall(fail, error);
    Push();
    Save("kept");
    Push();
    Save("");
    Restore();
    Import();
    Push();
    Save("");
    Push();
    Save("");  // removes an old one
    CreateAndDeleteAnother();
    const int64_t calls = server_.disk.calls();
    server_.disk.StopFailing();
    return calls;
  }

  // The machine dies; what comes back is a state that was seen, not older than what was called durable.
  void CheckRecovery() {
    const Version durable = model_->Info().durable_version;
    server_.disk.Crash(FakeFileSystem::Unsynced::kLost);
    model_.reset();
    worker_.reset();
    server_.Start();
    CheckRecovered(durable.counter);
  }

  // As above, but the call `fail` of the start fails, and then the machine starts again. False: it made
  // fewer.
  bool CheckRecoveryWithFault(int64_t fail, const absl::Status& error) {
    const Version durable = model_->Info().durable_version;
    server_.disk.Crash(FakeFileSystem::Unsynced::kLost);
    model_.reset();
    worker_.reset();
    server_.engine.reset();
    server_.disk.ResetCalls();
    server_.disk.FailCall(fail, error);
    Engine::Start(server_.Options())
        .status()
        .IgnoreError();  // it may refuse; it must not take anything along
    const bool reached = server_.disk.calls() >= fail;
    server_.disk.StopFailing();
    server_.disk.Crash(FakeFileSystem::Unsynced::kLost);
    server_.Start();
    CheckRecovered(durable.counter);
    return reached;
  }

 private:
  static ModelSpec Spec(const std::string& name) {
    ModelSpec spec = DeltaSpec(name, {kSize});
    spec.rounds.policy = RoundPolicy::kAsync;
    return spec;
  }

  void Note() { seen_[model_->Info().version->version.counter] = Weights(model_.get()); }

  // `step` moves the weights to `then` whole, or leaves them.
  template <typename Step>
  void Do(const char* what, const std::vector<float>& then, Step step) {
    const std::vector<float> before = Weights(model_.get());
    const absl::Status done = step();
    const std::vector<float> after = Weights(model_.get());
    EXPECT_TRUE(after == before || after == then) << what << ": " << done;
    if (done.ok()) EXPECT_EQ(after, then) << what;
    Note();
  }

  void Push() {
    const float now = Weights(model_.get())[0];
    const std::vector<float> then = AfterPush(now);
    Do("push", then, [&] {
      const absl::Status opened = worker_->Open().status();
      return opened.ok() ? worker_->Push(Constant(kSize, 1)).status() : opened;
    });
  }
  std::vector<float> AfterPush(float now) const {
    // A read-only model takes none.
    return Constant(kSize, model_->Info().unhealthy_reason.empty() ? now - 1 : now);
  }
  void Save(const std::string& label) {
    Do("save", Weights(model_.get()),
       [&] { return Await<SnapshotInfo>([&](auto done) { model_->SaveSnapshot(label, done); }).status(); });
    if (label.empty()) return;
    labelled_ = Weights(model_.get());
  }
  void Restore() {
    Do("restore", labelled_, [&] {
      return Await<ModelInfo>([&](auto done) { model_->RestoreSnapshot("kept", 0, done); }).status();
    });
  }
  void Import() {
    Do("import", Constant(kSize, 50), [&] {
      return Await<ModelInfo>(
                 [&](auto done) { model_->Import(PayloadOf(BytesOfFloats(Constant(kSize, 50))), done); })
          .status();
    });
  }
  void CreateAndDeleteAnother() {
    if (server_.TryCreate(Spec("other"), BytesOfFloats(Constant(kSize, 2))).ok())
      AwaitStatus([&](auto done) { server_.engine->Delete("other", done); }).IgnoreError();
  }

  void CheckRecovered(uint64_t durable) {
    absl::StatusOr<std::shared_ptr<Handle>> found = server_.engine->Find("lm");
    ASSERT_TRUE(found.ok()) << found.status();
    model_ = *found;
    const uint64_t counter = model_->Info().version->version.counter;
    EXPECT_GE(counter, durable);
    ASSERT_TRUE(seen_.contains(counter)) << "version " << counter << " was never published";
    EXPECT_EQ(Weights(model_.get()), seen_[counter]);
    Worker again(model_, "w");
    EXPECT_TRUE(again.Push(Constant(kSize, 1)).ok());
    EXPECT_EQ(Weights(model_.get()), Constant(kSize, seen_[counter][0] - 1));
    EXPECT_TRUE(Await<SnapshotInfo>([&](auto done) { model_->SaveSnapshot("", done); }).ok());
  }

  EngineFixture server_;
  std::shared_ptr<Handle> model_;
  std::unique_ptr<Worker> worker_;
  std::vector<float> labelled_ = Constant(kSize, 8);
  std::map<uint64_t, std::vector<float>> seen_;
};

TEST(EngineStorageFaults, AnyFailedCallOfALifeLeavesEachStepDoneOrNotDone) {
  for (const absl::Status& error : kErrors) {
    int64_t n = 1;
    for (bool reached = true; reached && n < kCallsMax && !testing::Test::HasFailure(); ++n) {
      SCOPED_TRACE(testing::Message() << "call " << n << ": " << error);
      Life life;
      reached = life.Run(n, error) >= n;
      life.CheckRecovery();
    }
    EXPECT_GT(n, 100) << "a life of fewer calls is no life";
    EXPECT_LT(n, kCallsMax);
  }
}

TEST(EngineStorageFaults, AnyFailedCallOfAStartLosesNothing) {
  for (const absl::Status& error : kErrors) {
    int64_t n = 1;
    for (bool reached = true; reached && n < kCallsMax && !testing::Test::HasFailure(); ++n) {
      SCOPED_TRACE(testing::Message() << "call " << n << ": " << error);
      Life life;
      life.Run(kCallsMax, error);  // none of its own
      reached = life.CheckRecoveryWithFault(n, error);
    }
    EXPECT_GT(n, 10);
    EXPECT_LT(n, kCallsMax);
  }
}

}  // namespace
}  // namespace stepback

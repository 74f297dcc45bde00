// The Nth storage call of a server's life fails, for every N: once, with all that follow until the disk is
// healed, or because the disk is full from there on. The process lives on, every step is done or not done and
// says which by name, what was called durable survives a power cut, and work goes on or the model says that
// it is read-only. The same for every call of a start.
//
// The oracle is arithmetic: all weights are one pattern times a number, which this file works out by itself.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <vector>

#include "server/base/status_macros.h"
#include "tests/unit/push_server.h"

namespace stepback {
namespace {

using absl::StatusCode;
using std::chrono::seconds;
using Unsynced = FakeFileSystem::Unsynced;

constexpr size_t kElements = 300;
constexpr int64_t kCallsMax = 5000;  // more than any life has

// Element i is the number times this: small integers, so that all of it is exact.
std::vector<float> Pattern(float number) {
  std::vector<float> values(kElements);
  for (size_t i = 0; i < kElements; ++i) values[i] = number * static_cast<float>(i % 5 + 1);
  return values;
}

struct Fault {
  const char* name;
  absl::Status error;
  bool lasts = false;  // until it is healed
  bool full = false;   // what needs no room goes on

  void Inject(FakeFileSystem* disk, int64_t call) const {
    lasts ? disk->FailCallsFrom(call, error) : disk->FailCall(call, error);
  }
};

const Fault kFaults[] = {
    {"one I/O error", absl::DataLossError("Input/output error")},
    {"I/O errors from there on", absl::DataLossError("Input/output error"), true},
    {"no space, once", absl::ResourceExhaustedError("No space left on device")},
    {"a full disk from there on", absl::ResourceExhaustedError("No space left on device"), true, true},
};

// Weights as multiples of the pattern, and how far the client has come.
struct State {
  float fast = 0, slow = 0;
  uint64_t steps = 0;     // of lookahead, since the start or an import
  uint64_t sequence = 0;  // of the last push
  friend bool operator==(const State& a, const State& b) {
    return a.fast == b.fast && a.slow == b.slow && a.sequence == b.sequence;
  }
};

std::ostream& operator<<(std::ostream& out, const State& state) {
  return out << "{fast " << state.fast << ", slow " << state.slow << ", pushes " << state.sequence << "}";
}

class Life {
 public:
  Life(Durability durability, Mode mode, uint64_t seed = 1)
      : durability_(durability), mode_(mode), server_(seed) {}

  // From the first start to the second one. Returns how many storage calls were made under `fault`.
  int64_t Live(const Fault* fault, int64_t call) {
    fault_ = fault;
    if (fault != nullptr) fault->Inject(&server_.disk, call);
    Start();
    Create();
    for (int i = 0; i < 2; ++i) Push();
    Save("kept");
    Push();
    Sleep();
    Restore();
    Push();
    Import();
    Push();
    Flush();
    Push();
    List();
    Save("");
    Push();
    Save("");  // removes an old one
    CreateAndDeleteAnother();
    Drain();
    StartAgain();
    Push();
    const int64_t calls = server_.disk.calls();
    if (fault != nullptr) failed_ = FailedCall(call);
    if (fault != nullptr && testing::Test::HasFailure()) return calls;
    Heal();
    GoOn();
    return calls;
  }

  // The power goes, and what comes back is a state that was there, not older than what was called durable.
  void CheckRecovery(Unsynced unsynced) {
    const absl::Status started = server_.PowerCycle(unsynced);
    ASSERT_TRUE(started.ok()) << started;
    CheckRecovered();
  }

  // A start whose call `call` fails, then one without a fault. False: it made fewer.
  bool CheckStart(const Fault& fault, int64_t call) {
    server_.model.reset();
    server_.engine.reset();
    server_.disk.Crash(Unsynced::kLost);
    fault_ = &fault;
    server_.disk.ResetCalls();
    fault.Inject(&server_.disk, call);
    StartFaulty();
    const bool reached = server_.disk.calls() >= call;
    Heal();
    const bool torn = call % 2 == 0;
    CheckRecovery(torn ? Unsynced::kTorn : Unsynced::kLost);
    return reached;
  }

  const std::string& failed_call() const { return failed_; }
  bool unhealthy() const {
    return server_.model != nullptr && !server_.model->Info().unhealthy_reason.empty();
  }

 private:
  ModelSpec Spec(const std::string& name) const {
    ModelSpec spec = mode_ == Mode::kDelta ? DeltaSpec(name, {200, 100}) : GradientSpec(name, {200, 100});
    spec.rounds.policy = RoundPolicy::kAsync;
    spec.rounds.max_staleness = 1000;
    spec.durability = durability_;
    spec.snapshot_interval_seconds = 60;
    spec.lease_seconds = 3600;
    return spec;
  }

  // --- the oracle ---

  State Pushed(State state) const {
    ++state.sequence;
    state.fast -= 1;
    if (mode_ == Mode::kDelta || ++state.steps % 2 == 0)
      state.slow = state.fast = mode_ == Mode::kDelta ? state.fast : (state.slow + state.fast) / 2;
    return state;
  }

  float NumberOf(View view) const {
    const std::vector<float> weights = Weights(server_.model.get(), view);
    if (weights.size() != kElements) return NAN;
    EXPECT_EQ(weights, Pattern(weights[0]));
    return weights[0];
  }
  State Seen() const {
    const auto version = server_.model->Info().version;
    const auto client = version->clients->find("w");
    return {.fast = NumberOf(View::kTrain),
            .slow = NumberOf(View::kEval),
            .steps = version->inner_steps,
            .sequence = client == version->clients->end() ? 0 : client->second->last_sequence};
  }

  void NoteDurable(bool must) {
    const ModelInfo info = server_.model->Info();
    const bool durable = info.durable_version.term != 0 && info.durable_version >= info.version->version;
    EXPECT_TRUE(durable || !must);
    if (!durable) return;
    exists_ = true;
    durable_ = states_.size() - 1;
  }

  // --- answers ---

  void CheckRefusal(const char* what, const absl::Status& why) const {
    EXPECT_NE(why.message(), "no answer") << what;
    const std::string text(why.message());
    const bool named = text.find("'m'") != std::string::npos || text.find("'other'") != std::string::npos ||
                       text.find("models/m") != std::string::npos;
    EXPECT_TRUE(named) << what << " does not say of which model: " << why;
    EXPECT_NE(ReasonOf(why), "") << what << ": " << why;
    if (fault_ == nullptr || !fault_->full) return;
    EXPECT_THAT(why, Refused(StatusCode::kResourceExhausted, "DISK_FULL")) << what;
    // To repeat a change that is there would be wrong.
    const bool there = text.find("the change is not on disk yet") != std::string::npos;
    EXPECT_TRUE(there || RetryAfterOf(why).has_value()) << what << ": " << why;
  }

  // `call` moves the state to `then` whole, or leaves it.
  void Do(const char* what, State then, bool durable, const std::function<absl::Status()>& call) {
    if (server_.model == nullptr || testing::Test::HasFailure()) return;
    SCOPED_TRACE(what);
    const absl::Status done = call();
    server_.RunAll();
    const State seen = Seen();
    EXPECT_TRUE(seen == now_ || seen == then) << seen << " from " << now_ << ": " << done;
    if (done.ok()) {
      EXPECT_EQ(seen, then);
    } else {
      CheckRefusal(what, done);
      // What a full disk refuses has left nothing.
      const bool may_be_logged = durability_ == Durability::kPush && !absl::IsResourceExhausted(done);
      if (may_be_logged && !(then == seen)) in_doubt_.push_back(then);
    }
    if (seen == then) {
      if (!(seen == now_)) states_.push_back(then);
      now_ = then;
    }
    NoteDurable(done.ok() && durable);
  }

  // --- steps ---

  void Start() {
    if (const absl::Status started = server_.Start(); !started.ok()) {
      EXPECT_NE(std::string(started.message()).find("'/"), std::string::npos) << started;
      Heal();
      ASSERT_TRUE(server_.Start().ok());
    }
  }

  void Create() {
    if (testing::Test::HasFailure()) return;
    absl::Status created = server_.Create(Spec("m"), Pattern(8));
    server_.RunAll();
    if (!created.ok()) {
      CheckRefusal("create", created);
      if (fault_->lasts) Heal();
      // What is left of it could not be removed either: it is named, and can be deleted.
      if (absl::IsDataLoss(server_.engine->Find("m").status()))
        EXPECT_TRUE(server_.AskStatus([&](auto done) { server_.engine->Delete("m", done); }).ok());
      EXPECT_TRUE(absl::IsNotFound(server_.engine->Find("m").status()));
      created = server_.Create(Spec("m"), Pattern(8));
    }
    ASSERT_TRUE(created.ok()) << created;
    now_ = {.fast = 8, .slow = 8};
    states_ = {now_};
    EXPECT_EQ(Seen(), now_);
    NoteDurable(/*must=*/durability_ != Durability::kVolatile);
  }

  absl::Status Open() {
    const auto opened =
        server_.Ask<SessionOpened>([&](auto done) { server_.model->Open({.client_id = "w"}, done); });
    if (!opened.ok()) return opened.status();
    EXPECT_EQ(opened->session.last_sequence, now_.sequence);
    epoch_ = opened->session.epoch;
    open_ = true;
    return absl::OkStatus();
  }

  absl::StatusOr<PushAnswer> Send(uint64_t sequence) {
    UploadRequest request;
    request.header = {.client_id = "w",
                      .epoch = epoch_,
                      .sequence = sequence,
                      .kind = mode_ == Mode::kDelta ? PushKind::kDelta : PushKind::kGradient,
                      .base = server_.model->Info().version->version};
    request.total_bytes = kElements * sizeof(float);
    return server_.Send(request, BytesOfFloats(Pattern(1)));
  }

  void Push() {
    Do("push", Pushed(now_), durability_ == Durability::kPush, [&] {
      if (!open_) RETURN_IF_ERROR(Open());
      const absl::Status sent = Send(now_.sequence + 1).status();
      open_ = sent.ok();
      return sent;
    });
  }

  absl::Status AskSave(const std::string& label) {
    return server_.Ask<SnapshotInfo>([&](auto done) { server_.model->SaveSnapshot(label, done); }).status();
  }
  void Save(const std::string& label) {
    bool saved = false;
    Do("save", now_, true, [&] {
      const absl::Status done = AskSave(label);
      saved = done.ok();
      return done;
    });
    if (!label.empty() && saved) labelled_ = now_;
  }

  // An automatic snapshot falls due; nobody waits for it.
  void Sleep() {
    Do("sleep", now_, false, [&] {
      server_.Advance(seconds(61));
      return absl::OkStatus();
    });
  }

  void Restore() {
    const bool there = labelled_.has_value();
    State then = labelled_.value_or(now_);
    then.sequence = now_.sequence;  // weights go back, numbers do not
    Do("restore", then, there && durability_ != Durability::kVolatile, [&]() -> absl::Status {
      const absl::Status done =
          server_.Ask<ModelInfo>([&](auto done) { server_.model->RestoreSnapshot("kept", 0, done); })
              .status();
      open_ = false;
      // What was not saved, or in doubt, may not be there.
      return !there && absl::IsNotFound(done) ? absl::OkStatus() : done;
    });
  }

  void Import() {
    State then = now_;
    then.fast = then.slow = 50;
    then.steps = 0;
    Do("import", then, durability_ != Durability::kVolatile, [&] {
      return server_
          .Ask<ModelInfo>(
              [&](auto done) { server_.model->Import(PayloadOf(BytesOfFloats(Pattern(50))), done); })
          .status();
    });
  }

  void Flush() {
    Do("flush", now_, durability_ != Durability::kVolatile, [&]() -> absl::Status {
      if (durability_ == Durability::kVolatile) return absl::OkStatus();
      return server_.Ask<Version>([&](auto done) { server_.model->Flush(done); }).status();
    });
  }

  void List() {
    Do("list", now_, false, [&] {
      return server_.Ask<std::vector<SnapshotInfo>>([&](auto done) { server_.model->ListSnapshots(done); })
          .status();
    });
  }

  void CreateAndDeleteAnother() {
    if (testing::Test::HasFailure()) return;
    const std::shared_ptr<Handle> model = server_.model;
    const absl::Status created = server_.Create(Spec("other"), Pattern(2));
    server_.RunAll();
    server_.model = model;
    if (!created.ok()) return CheckRefusal("create another", created);
    const auto remove = [&] {
      return server_.AskStatus([&](auto done) { server_.engine->Delete("other", done); });
    };
    absl::Status deleted = remove();
    if (!deleted.ok()) {
      CheckRefusal("delete", deleted);
      EXPECT_THAT(server_.engine->Find("other").status(), Refused(StatusCode::kDataLoss, "MODEL_DAMAGED"));
      if (!fault_->lasts) EXPECT_TRUE((deleted = remove()).ok()) << deleted;
    }
    EXPECT_FALSE(server_.engine->Find("other").ok());
    deleted_ = deleted.ok();
  }

  void Drain() {
    Do("drain", now_, durability_ != Durability::kVolatile,
       [&] { return server_.AskStatus([&](auto done) { server_.engine->Drain(done); }); });
  }

  // Orderly. What has not been saved by the drain is gone.
  void StartAgain() {
    if (testing::Test::HasFailure()) return;
    StartFaulty();
    if (server_.model == nullptr) {
      Heal();
      ASSERT_TRUE(server_.Start().ok());
    }
    CheckRecovered(/*go_on=*/false);
  }

  // Refused, or without the model, by name; or as if nothing had happened.
  void StartFaulty() {
    const absl::Status started = server_.Start();
    if (!started.ok()) {
      EXPECT_NE(std::string(started.message()).find("'/"), std::string::npos) << started;
      return;
    }
    const absl::Status found = server_.engine->Find("m").status();
    if (found.ok() || !exists_) return;
    EXPECT_THAT(found, Refused(StatusCode::kDataLoss, "MODEL_DAMAGED"));
    EXPECT_NE(std::string(found.message()).find("'m'"), std::string::npos) << found;
  }

  void Heal() { server_.disk.StopFailing(); }

  std::string FailedCall(int64_t call) const {
    const std::vector<std::string> log = server_.disk.call_log();
    return call >= 1 && call <= static_cast<int64_t>(log.size()) ? log[call - 1] : "none";
  }

  // The disk is well again: so is the server, or it says that it is not.
  void GoOn() {
    if (server_.model == nullptr || testing::Test::HasFailure()) return;
    SCOPED_TRACE("failed: " + failed_);
    const uint64_t pushes = now_.sequence;
    if (!unhealthy()) Push();  // the first to hear of a mark in the log that could not be written
    if (unhealthy()) {
      EXPECT_NE(durability_, Durability::kVolatile);
      EXPECT_FALSE(fault_ == nullptr || fault_->full) << "a full disk is no reason";
      const State before = Seen();
      const absl::Status refused = open_ ? Send(now_.sequence + 1).status() : Open();
      EXPECT_THAT(refused, Refused(StatusCode::kFailedPrecondition, "MODEL_READ_ONLY"));
      EXPECT_EQ(Seen(), before) << "reads go on";
      return;
    }
    EXPECT_EQ(now_.sequence, pushes + 1) << "work goes on by itself";
    Save("");
  }

  void CheckRecovered(bool go_on = true) {
    if (deleted_) EXPECT_TRUE(absl::IsNotFound(server_.engine->Find("other").status()));
    const auto found = server_.engine->Find("m");
    open_ = false;
    if (!exists_ && !found.ok()) {
      EXPECT_TRUE(absl::IsNotFound(found.status())) << found.status();
      labelled_.reset();
      return Create();
    }
    ASSERT_TRUE(found.ok()) << found.status();
    server_.model = *found;
    const State seen = Seen();
    std::vector<State> possible(states_.begin() + static_cast<ptrdiff_t>(durable_), states_.end());
    possible.insert(possible.end(), in_doubt_.begin(), in_doubt_.end());
    const auto is = std::find(possible.begin(), possible.end(), seen);
    ASSERT_TRUE(is != possible.end()) << "came back as " << seen << ", durable " << possible.front()
                                      << ", last " << now_ << ", failed: " << failed_;
    now_ = *is;
    states_ = {now_};
    in_doubt_.clear();
    NoteDurable(/*must=*/true);
    if (!go_on) return;
    EXPECT_TRUE(Open().ok());
    if (now_.sequence > 0) {
      const auto again = Send(now_.sequence);
      EXPECT_TRUE(again.ok() && again->outcome == PushOutcome::kDuplicate) << again.status();
      EXPECT_EQ(Seen(), now_) << "once";
    }
    const uint64_t pushes = now_.sequence;
    Push();
    EXPECT_EQ(now_.sequence, pushes + 1);
    Save("");
    EXPECT_EQ(durable_ + 1, states_.size());
    CheckLabel();
  }

  // What was saved under a label stays until it is deleted.
  void CheckLabel() {
    if (!labelled_) return;
    const auto snapshots =
        server_.Ask<std::vector<SnapshotInfo>>([&](auto done) { server_.model->ListSnapshots(done); });
    ASSERT_TRUE(snapshots.ok()) << snapshots.status();
    EXPECT_TRUE(std::any_of(snapshots->begin(), snapshots->end(),
                            [](const SnapshotInfo& info) { return info.label == "kept"; }));
  }

  const Durability durability_;
  const Mode mode_;
  PushServer server_;
  const Fault* fault_ = nullptr;
  std::string failed_ = "none";

  State now_;
  std::vector<State> states_;    // that were seen, since the last recovery
  size_t durable_ = 0;           // of those, the newest that was called durable
  bool exists_ = false;          // some state was called durable
  std::vector<State> in_doubt_;  // of refused calls since: the log may have them all the same
  std::optional<State> labelled_;
  uint64_t epoch_ = 0;
  bool open_ = false;
  bool deleted_ = false;  // the other model
};

struct Kind {
  const char* name;
  Durability durability;
  Mode mode;
};

// By default every seventh call of a life and every third of a start, others for each of the four faults.
// STEPBACK_FAULT_STRIDE=1 fails all of them in every way; STEPBACK_FAULT=2 STEPBACK_FAULT_FROM=117 begins
// there.
int64_t Setting(const char* variable, int64_t otherwise) {
  const char* const text = std::getenv(variable);
  return text == nullptr ? otherwise : std::atoll(text);
}

constexpr int64_t kLifeStride = 7, kStartStride = 3;

struct Calls {
  int64_t first, stride;
};

Calls CallsOf(const Fault& fault, int64_t otherwise) {
  const int64_t stride = Setting("STEPBACK_FAULT_STRIDE", otherwise), index = &fault - kFaults;
  return {Setting("STEPBACK_FAULT_FROM", 1 + 2 * index % stride), stride};
}

bool IsWanted(const Fault& fault) { return &fault - kFaults >= Setting("STEPBACK_FAULT", 0); }

class EngineStorageFaults : public testing::TestWithParam<Kind> {};

TEST_P(EngineStorageFaults, AnyFailedCallOfALifeLeavesEachStepDoneOrNotDone) {
  const Kind& kind = GetParam();
  const int64_t calls = Life(kind.durability, kind.mode).Live(nullptr, 0);
  EXPECT_GT(calls, 100) << "a life of fewer calls is no life";
  ASSERT_LT(calls, kCallsMax);
  int64_t lives = 0;
  for (const Fault& fault : kFaults) {
    if (!IsWanted(fault)) continue;
    const auto [first, stride] = CallsOf(fault, kLifeStride);
    for (int64_t n = first; n <= calls && !testing::Test::HasFailure(); n += stride, ++lives) {
      SCOPED_TRACE(testing::Message() << fault.name << ", call " << n << " of " << calls);
      Life life(kind.durability, kind.mode);
      life.Live(&fault, n);
      if (testing::Test::HasFailure()) std::printf("failed call: %s\n", life.failed_call().c_str());
      // In a third of the lives the process dies alone first.
      if (n % 3 == 0 && !testing::Test::HasFailure()) life.CheckRecovery(Unsynced::kKept);
      if (!testing::Test::HasFailure()) life.CheckRecovery(n % 2 == 0 ? Unsynced::kTorn : Unsynced::kLost);
    }
  }
  std::printf("%s: %lld storage calls, failed in %lld lives\n", kind.name, static_cast<long long>(calls),
              static_cast<long long>(lives));
}

TEST_P(EngineStorageFaults, AnyFailedCallOfAStartLosesNothing) {
  const Kind& kind = GetParam();
  int64_t starts = 0;
  for (const Fault& fault : kFaults) {
    const auto [first, stride] = CallsOf(fault, kStartStride);
    bool reached = true;
    int64_t n = first;
    for (; reached && n < kCallsMax && !testing::Test::HasFailure(); n += stride, ++starts) {
      SCOPED_TRACE(testing::Message() << fault.name << ", call " << n);
      Life life(kind.durability, kind.mode);
      life.Live(nullptr, 0);
      reached = life.CheckStart(fault, n);
    }
    EXPECT_GT(n, 20);
    EXPECT_FALSE(reached);
  }
  std::printf("%s: %lld storage calls of a start failed\n", kind.name, static_cast<long long>(starts));
}

INSTANTIATE_TEST_SUITE_P(Kinds, EngineStorageFaults,
                         testing::Values(Kind{"volatile", Durability::kVolatile, Mode::kDelta},
                                         Kind{"round", Durability::kRound, Mode::kGradient},
                                         Kind{"push", Durability::kPush, Mode::kDelta},
                                         Kind{"push_gradient", Durability::kPush, Mode::kGradient}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace stepback

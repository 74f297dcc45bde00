// A random walk over everything that clients can do to a model, in step with a plain machine that says what
// must happen (exactly-once, fencing, leases, gaps, membership).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "server/base/errors.h"
#include "tests/unit/core_session_machine.h"
#include "tests/unit/core_support.h"

namespace stepback::core_test {
namespace {

constexpr int64_t kLease = 60;
constexpr int kSteps = 60'000;
// So few that the walk gets there; the run of overflows that does it too is core_quarantine_test's.
constexpr QuarantineSpec kQuarantine = {.after = 2, .seconds = 30};

std::string WordOf(const PushAnswer& answer) {
  const auto name = [](PushOutcome outcome) {
    return outcome == PushOutcome::kApplied    ? "applied"
           : outcome == PushOutcome::kBuffered ? "buffered"
                                               : "skipped";
  };
  if (answer.outcome == PushOutcome::kDuplicate) {
    if (answer.reason.find("no longer remembered") != std::string::npos) return "duplicate of forgotten";
    return fmt::format("duplicate of {}",
                       answer.refusal.ok() ? name(answer.first_outcome) : ReasonOf(answer.refusal));
  }
  return answer.refusal.ok() ? name(answer.outcome) : ReasonOf(answer.refusal);
}

std::vector<std::string> WordsOf(const Effects& effects) {
  std::vector<std::string> words;
  for (const auto& a : effects.answers)
    words.push_back(fmt::format("{}:{} {}", a.client_id, a.sequence, WordOf(a.answer)));
  return words;
}

class Walk {
 public:
  Walk(const RoundSpec& rounds, uint64_t seed)
      : random_(seed), rounds_(rounds), model_(SpecOf(rounds), OneTensor({0})), machine_(rounds, kLease, kQuarantine) {}

  void Run() {
    for (step_ = 0; step_ < kSteps && !testing::Test::HasFailure(); ++step_) {
      SCOPED_TRACE(fmt::format("step {}", step_));
      Step();
      Compare();
    }
  }
  const std::map<std::string, int>& seen() const { return seen_; }

 private:
  static ModelSpec SpecOf(const RoundSpec& rounds) {
    ModelSpec spec = DeltaSpec(1);
    spec.rounds = rounds;
    spec.lease_seconds = kLease;
    spec.quarantine = kQuarantine;
    return spec;
  }
  uint64_t Below(uint64_t bound) { return random_() % bound; }
  std::string Client() { return std::string(1, static_cast<char>('a' + Below(5))); }
  TimePoint Now() const { return TimePoint{std::chrono::seconds(now_)}; }

  void Step() {
    const uint64_t what = Below(100);
    if (what < 70) return PushSomething();
    if (what < 80) return PassTime();
    if (what < 88) return Open();
    if (what < 94) return Heartbeat();
    if (what < 97) return Close();
    Evict();
  }

  uint64_t Epoch(const std::string& client) {
    const uint64_t newest = epochs_[client], kind = Below(20);
    return kind == 0 ? newest + 1 : kind == 1 && newest > 0 ? newest - 1 : newest;
  }

  void PushSomething() {
    SessionMachine::Arrival push{.client = Client()};
    push.epoch = Epoch(push.client);
    const uint64_t last = machine_.last_sequence(push.client);
    const uint64_t kind = Below(20);
    push.sequence = kind < 10   ? last + 1
                    : kind < 14 ? last - std::min<uint64_t>(last, Below(12))
                                : last + 1 + Below(8);
    const uint64_t counter = machine_.counter();
    // Mostly the newest base; a few old ones, some ahead, some from a lost term.
    push.base = {.term = Below(10) == 0 ? 0u : 1u,
                 .counter = counter - std::min<uint64_t>(counter, Below(4))};
    if (Below(12) == 0) push.base.counter = counter + 1 + Below(2);
    push.finite = Below(15) > 0;
    push.loss_scale = Below(3) == 0 ? 256 : 1;
    push.right_kind = Below(30) > 0;
    Check(machine_.Apply(push, now_), model_->Apply(ToPush(push), Now()));
  }

  Push ToPush(const SessionMachine::Arrival& arrival) {
    Push push;
    push.header = {.client_id = arrival.client,
                   .epoch = arrival.epoch,
                   .sequence = arrival.sequence,
                   .kind = arrival.right_kind ? PushKind::kDelta : PushKind::kGradient,
                   .base = arrival.base,
                   .loss_scale = arrival.loss_scale};
    push.payload = Encode(model_.spec(), OneTensor({0}));
    push.finite = arrival.finite;
    return push;
  }

  void PassTime() {
    const std::optional<TimePoint> next = model_->NextTick();
    const int64_t jump =
        Below(8) == 0 ? 20 + static_cast<int64_t>(Below(50)) : static_cast<int64_t>(Below(4));
    now_ += jump;
    if (next.has_value() && *next <= Now()) seen_["tick was due"]++;
    Check(machine_.Tick(now_), model_->Tick(Now()));
  }

  void Open() {
    const std::string client = Client();
    const bool reader = Below(8) == 0, attach = Below(4) == 0;
    std::string reason;
    const auto expected = machine_.Open(client, reader, attach, now_, &reason);
    const auto opened = model_->Open({.client_id = client,
                                      .role = reader ? SessionRole::kReader : SessionRole::kTrainer,
                                      .attach = attach},
                                     Now());
    ASSERT_EQ(opened.ok(), expected.has_value());
    if (!opened.ok()) {
      EXPECT_EQ(ReasonOf(opened.status()), reason);
      if (!attach) seen_["no session because " + reason]++;
      return;
    }
    EXPECT_EQ(opened->epoch, *expected);
    EXPECT_EQ(opened->last_sequence, machine_.last_sequence(client));
    epochs_[client] = opened->epoch;
    // What an Open has to report, and the round that it may have completed, come with the next call.
    if (model_->NextTick().has_value() && *model_->NextTick() <= Now())
      Check(machine_.Tick(now_), model_->Tick(Now()));
  }

  void Heartbeat() {
    const std::string client = Client();
    const uint64_t epoch = Epoch(client);
    EXPECT_EQ(ReasonOf(model_->Heartbeat(client, epoch, {}, Now())), machine_.Heartbeat(client, epoch, now_));
  }

  void Close() {
    const std::string client = Client();
    const uint64_t epoch = Epoch(client);
    std::vector<std::string> answers;
    const std::string refusal = machine_.Close(client, epoch, now_, &answers);
    const auto effects = model_->Close(client, epoch, Now());
    EXPECT_EQ(ReasonOf(effects.status()), refusal);
    if (effects.ok()) Check(answers, *effects);
  }

  void Evict() {
    const std::string client = Client();
    std::vector<std::string> answers;
    const std::string refusal = machine_.Evict(client, now_, &answers);
    const auto effects = model_->Evict(client, Now());
    EXPECT_EQ(ReasonOf(effects.status()), refusal);
    if (effects.ok()) Check(answers, *effects);
  }

  void Check(const std::vector<std::string>& expected, const Effects& effects) {
    EXPECT_EQ(WordsOf(effects), expected);
    for (const std::string& answer : expected) ++seen_[answer.substr(answer.find(' ') + 1)];
    for (const auto& a : effects.answers) {
      if (a.answer.outcome == PushOutcome::kDuplicate || !a.answer.decided) continue;
      EXPECT_TRUE(decided_.insert({a.client_id, a.sequence}).second)
          << "decided twice: " << a.client_id << a.sequence;
    }
  }

  void Compare() {
    EXPECT_EQ(model_.version().version, (Version{1, machine_.counter()}));
    EXPECT_EQ(model_.version().samples, machine_.folded()) << "each push counts once";
    EXPECT_EQ(model_->live_trainers(), machine_.live_trainers());
    if (rounds_.policy == RoundPolicy::kSync && !model_->WaitingFor().empty()) {
      EXPECT_EQ(model_->WaitingForWorkers(), machine_.waiting_for());
    }
    for (const SessionInfo& info : model_->Sessions(Now())) {
      EXPECT_EQ(info.last_sequence, machine_.last_sequence(info.client_id));
    }
  }

  std::mt19937_64 random_;
  const RoundSpec rounds_;
  TestModel model_;
  SessionMachine machine_;
  int64_t now_ = 1000;
  int step_ = 0;
  std::map<std::string, uint64_t> epochs_;
  std::map<std::string, int> seen_;
  std::set<std::pair<std::string, uint64_t>> decided_;
};

void RunWalk(const RoundSpec& rounds) {
  SCOPED_TRACE(fmt::format("seed {}", Seed()));
  Walk walk(rounds, Seed());
  walk.Run();
  // The walk went everywhere.
  std::vector<std::string> words = {"applied",
                                    "skipped",
                                    "NONFINITE",
                                    "QUARANTINED",
                                    "no session because QUARANTINED",
                                    "STALE_BASE",
                                    "RESYNC",
                                    "FENCED",
                                    "NO_SESSION",
                                    "SESSION_EXPIRED",
                                    "SEQUENCE_GAP",
                                    "READER_SESSION",
                                    "KIND_NOT_ACCEPTED",
                                    "duplicate of applied",
                                    "duplicate of STALE_BASE",
                                    "duplicate of forgotten",
                                    "SEQUENCE_INVALID",
                                    "tick was due"};
  if (rounds.policy != RoundPolicy::kAsync) words.push_back("buffered");
  for (const std::string& word : words) EXPECT_GT(walk.seen().count(word), 0u) << word;
}

TEST(SessionWalk, SyncRoundsWithQuorumAndDeadline) {
  RunWalk({.quorum = 2, .deadline_seconds = 5, .max_staleness = 2});
}

TEST(SessionWalk, SyncRoundsThatWaitForEveryone) { RunWalk({.max_staleness = 2}); }

TEST(SessionWalk, OrderedRounds) {
  RunWalk({.quorum = 2, .deadline_seconds = 5, .max_staleness = 2, .reduction = Reduction::kOrdered});
}

TEST(SessionWalk, Async) { RunWalk({.policy = RoundPolicy::kAsync, .max_staleness = 2}); }

TEST(SessionWalk, Buffered) {
  RunWalk({.policy = RoundPolicy::kBuffered, .buffer_pushes = 3, .max_staleness = 2});
}

}  // namespace
}  // namespace stepback::core_test

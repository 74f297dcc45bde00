// What the offline commands make of event logs: filters, and the replay of decisions. The logs are the
// engine's own; a replay must find nothing in them, and must find whatever is changed in one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>

#include "absl/strings/str_format.h"
#include "server/store/event_writer.h"
#include "server/tools/decision_replay.h"
#include "tests/unit/recorded_events.h"

namespace stepback {
namespace {

using absl::StatusCode;
using testing::HasSubstr;
using testing::IsEmpty;
using Change = std::function<void(v1::EventRecord*)>;

constexpr size_t kElements = 20;

// Two workers, a stale push, an overflow, a change of settings, an import, a restore and a restart.
Records RunEverything(RoundPolicy policy, bool ordered) {
  EngineFixture server;
  ModelSpec spec = DeltaSpec("lm", {kElements});
  spec.rounds.policy = policy;
  spec.rounds.buffer_pushes = 3;
  spec.rounds.max_staleness = 2;
  spec.rounds.weighting = Weighting::kSamples;
  if (ordered) spec.rounds.reduction = Reduction::kOrdered;
  if (policy != RoundPolicy::kSync) spec.rounds.staleness_exponent = 0.5;
  spec.rounds.deadline_seconds = policy == RoundPolicy::kSync ? 5 : 0;
  auto model = server.Create(spec, Constant(kElements, 0));
  const std::vector<std::byte> bytes = BytesOfFloats(Constant(kElements, 0.5));
  const auto push = [&](Worker* worker, uint64_t age, double loss_scale = 1) {
    UploadRequest request = worker->Next(bytes.size());
    request.header.samples = 3 + request.header.sequence;
    request.header.loss_scale = loss_scale;
    request.header.base.counter -= std::min(age, request.header.base.counter);
    const bool overflow = loss_scale != 1;
    const absl::Status sent =
        worker->Send(request, overflow ? BytesOfFloats(Constant(kElements, INFINITY)) : bytes).status();
    EXPECT_EQ(ReasonOf(sent), age > 2 ? "STALE_BASE" : "") << sent;
  };
  const auto lap = [&](Worker* b, Worker* a) {
    for (int i = 0; i < 6; ++i) {
      push(b, i >= 3 ? i % 2 : 0);  // not across a restore
      server.clock.Advance(std::chrono::milliseconds(7));
      push(a, 0);
    }
  };
  Worker b(model, "b"), a(model, "a");
  lap(&b, &a);
  push(&b, 9);                         // refused
  if (policy == RoundPolicy::kSync) {  // by the deadline
    push(&a, 0);
    server.Quiesce(model.get());  // its deadline is set
    server.Advance(model.get(), std::chrono::seconds(6));
  }
  push(&a, 0, 1024);
  push(&b, 0);
  EXPECT_TRUE(Await<ModelInfo>([&](auto done) { model->Update({{"outer.alpha", 0.5}}, 0, done); }).ok());
  EXPECT_TRUE(Await<SnapshotInfo>([&](auto done) { model->SaveSnapshot("s", done); }).ok());
  lap(&b, &a);
  EXPECT_TRUE(Await<ModelInfo>([&](auto done) {
                model->Import(PayloadOf(BytesOfFloats(Constant(kElements, 3))), done);
              }).ok());
  EXPECT_TRUE(Await<ModelInfo>([&](auto done) { model->RestoreSnapshot("s", 0, done); }).ok());
  Worker again_b(model, "b"), again_a(model, "a");
  lap(&again_b, &again_a);
  model.reset();
  server.disk.Crash(FakeFileSystem::Unsynced::kLost);  // versions are lost, what is a second old is not
  server.Start();
  model = *server.engine->Find("lm");
  Worker last_b(model, "b"), last_a(model, "a");
  lap(&last_b, &last_a);
  model.reset();
  server.engine.reset();
  return ReadRecords(&server.disk);
}

std::vector<DecisionReplay::Finding> ReplayAll(const Records& records, DecisionReplay* replay) {
  std::vector<DecisionReplay::Finding> all;
  for (const v1::EventRecord& record : records) {
    for (const DecisionReplay::Finding& finding : replay->Take(record)) all.push_back(finding);
  }
  return all;
}

std::vector<std::string> Contradictions(const Records& records) {
  DecisionReplay replay;
  std::vector<std::string> what;
  for (const DecisionReplay::Finding& finding : ReplayAll(records, &replay)) {
    if (finding.contradiction) what.push_back(finding.what);
  }
  EXPECT_EQ(replay.totals().contradictions, what.size());
  return what;
}

struct Run {
  RoundPolicy policy;
  bool ordered;
};
class DecisionsOf : public testing::TestWithParam<Run> {};

TEST_P(DecisionsOf, AWholeHistoryHasNoContradiction) {
  const Records records = RunEverything(GetParam().policy, GetParam().ordered);
  EXPECT_THAT(Contradictions(records), IsEmpty());
  DecisionReplay replay;
  ReplayAll(records, &replay);
  EXPECT_EQ(replay.totals().merges, Named(records, "round_closed").size());
  EXPECT_GE(replay.totals().merges, 12u);
  EXPECT_EQ(replay.totals().refused, 1u);
  EXPECT_EQ(replay.version()->counter, records.back().counter());
}

INSTANTIATE_TEST_SUITE_P(Policies, DecisionsOf,
                         testing::Values(Run{RoundPolicy::kSync, false}, Run{RoundPolicy::kSync, true},
                                         Run{RoundPolicy::kAsync, false}, Run{RoundPolicy::kBuffered, true}));

// --- whatever is changed is found ---

class ChangedDecision : public testing::Test {
 protected:
  // The contradictions once `change` was made to the sixth merge (or the first record of that name).
  std::vector<std::string> After(const Change& change, const std::string& name = "round_closed") {
    static const Records* const records = new Records(RunEverything(RoundPolicy::kBuffered, true));
    Records changed = *records;
    int seen = 0;
    for (v1::EventRecord& record : changed) {
      if (record.name() == name && (name != "round_closed" || ++seen == 6)) {
        change(&record);
        break;
      }
    }
    return Contradictions(changed);
  }
  static v1::MergeEvent::Member* Member(v1::EventRecord* record) {
    return record->mutable_merge()->mutable_members(0);
  }
};

TEST_F(ChangedDecision, IsFound) {
  const std::vector<std::pair<const char*, Change>> changes = {
      {"is made from version", [](auto* r) { r->mutable_merge()->set_before_counter(r->counter() - 2); }},
      {"does not follow version", [](auto* r) { r->set_counter(r->counter() + 1); }},
      {"does not follow version", [](auto* r) { r->set_term(r->term() + 1); }},
      {"which is in version", [](auto* r) { Member(r)->set_sequence(1); }},
      {"which no session had", [](auto* r) { Member(r)->set_epoch(77); }},
      {"gives push", [](auto* r) { Member(r)->set_staleness(Member(r)->staleness() + 1); }},
      {"above max_staleness",
       [](auto* r) {
         Member(r)->set_staleness(3);
         Member(r)->set_base_counter(r->merge().before_counter() - 3);
       }},
      {"the settings give", [](auto* r) { Member(r)->set_numerator(Member(r)->numerator() * 1.0000001); }},
      {"the settings give", [](auto* r) { Member(r)->set_share(1); }},
      {"the settings give", [](auto* r) { Member(r)->set_samples(Member(r)->samples() + 1); }},
      {"the settings give", [](auto* r) { Member(r)->set_loss_scale(2); }},
      {"the settings give", [](auto* r) { Member(r)->set_mixing(0.5); }},
      {"though it was skipped", [](auto* r) { Member(r)->set_skipped(true); }},
      {"expected 0..1", [](auto* r) { Member(r)->set_taken(1.5); }},
      {"but the rule says: 2 of 3 pushes",
       [](auto* r) { r->mutable_merge()->mutable_members()->RemoveLast(); }},
      {"add up to", [](auto* r) { r->mutable_merge()->set_samples(r->merge().samples() + 1); }},
      {"add up to", [](auto* r) { r->mutable_merge()->set_outer_step(false); }},
      {"add up to", [](auto* r) { Member(r)->set_local_steps(9); }},
      {"another order", [](auto* r) { r->mutable_merge()->mutable_members()->SwapElements(0, 2); }},
      {"was made of nothing",
       [](auto* r) {
         for (auto& member : *r->mutable_merge()->mutable_members()) member.set_skipped(true);
       }},
      {"only 2 had a session", [](auto* r) { r->mutable_merge()->set_awaited(3); }},
      {"says nothing of the merge", [](auto* r) { r->clear_merge(); }},
      {"follows record", [](auto* r) { r->set_number(1); }},
  };
  EXPECT_THAT(After([](auto*) {}), IsEmpty());
  for (size_t i = 0; i < changes.size(); ++i) {
    EXPECT_THAT(After(changes[i].second), testing::Contains(HasSubstr(changes[i].first))) << "change " << i;
  }
}

TEST_F(ChangedDecision, OfASessionOrARecoveryIsFound) {
  const auto epoch = [](v1::EventRecord* record) {
    for (auto& field : *record->mutable_fields()) {
      if (field.name() == "epoch") field.set_value("0");
    }
  };
  EXPECT_THAT(After(epoch, "session_opened"), testing::Contains(HasSubstr("got epoch 0 after 0")));
  EXPECT_THAT(After(epoch, "session_fenced"), testing::Contains(HasSubstr("not 0")));
  EXPECT_THAT(After([](auto* r) { r->set_term(1); }, "model_recovered"),
              testing::Contains(HasSubstr("term did not rise")));
  EXPECT_THAT(After([](auto* r) { r->set_term(1); }, "model_restored"),
              testing::Contains(HasSubstr("term did not rise")));
  EXPECT_THAT(After([](auto* r) { r->set_counter(1); }, "weights_imported"),
              testing::Contains(HasSubstr("does not follow version")));
}

// A hole in the log is told, and nothing is blamed on it.
TEST(DecisionReplay, MissingRecordsAreNoContradiction) {
  const Records records = RunEverything(RoundPolicy::kAsync, false);
  for (size_t gone = 1; gone + 1 < records.size(); ++gone) {
    if (records[gone].name() == "settings") continue;  // replayed under the old ones: told as contradictions
    Records holed = records;
    holed.erase(holed.begin() + static_cast<std::ptrdiff_t>(gone));
    DecisionReplay replay;
    const auto findings = ReplayAll(holed, &replay);
    ASSERT_FALSE(findings.empty()) << gone;
    EXPECT_EQ(replay.totals().contradictions, 0u) << records[gone].name() << ": " << findings[0].what;
    EXPECT_EQ(replay.totals().missing, 1u);
  }
}

// --- the kept format ---

constexpr char kGoldenFile[] = STEPBACK_GOLDEN_DIR "/events_v1/lm/events-000001.log";

// A settings record at the head, the model's creation, and one merge of one push.
std::vector<EventFrame> GoldenFrames() {
  v1::EventRecord settings;
  settings.set_name("settings");
  settings.set_settings_version(1);
  v1::StoredSpec* const spec = settings.mutable_settings();  // every enum; delta, async
  spec->set_mode(2);
  spec->set_inner_state(1);
  spec->set_durability(2);
  spec->mutable_rounds()->set_policy(2);
  spec->mutable_rounds()->set_reduction(1);
  spec->mutable_rounds()->set_accumulate(1);
  spec->mutable_rounds()->set_weighting(1);
  v1::EventRecord created;
  created.set_number(1);
  created.set_wall_nanos(1'700'000'000'000'000'000);
  created.set_term(1);
  created.set_settings_version(1);
  created.set_name("model_created");
  v1::EventRecord merge;
  merge.set_number(3);
  merge.set_dropped(1);
  merge.set_term(1);
  merge.set_counter(1);
  merge.set_name("round_closed");
  merge.set_reason("applied at once");
  merge.mutable_merge()->set_before_term(1);
  merge.mutable_merge()->set_update_norm(0.1);
  v1::MergeEvent::Member* const member = merge.mutable_merge()->add_members();
  member->set_client_id("w0");
  member->set_epoch(1);
  member->set_sequence(1);
  member->set_numerator(1.0 / 3);
  return {
      {0, settings.SerializeAsString()}, {1, created.SerializeAsString()}, {3, merge.SerializeAsString()}};
}

std::string FileText(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Written by format version 1 and kept: every later version must read it, and this one still writes the same
// bytes. STEPBACK_WRITE_GOLDEN=1 writes it anew (only with a new format version, in its own folder).
TEST(EventGolden, VersionOneIsReadAndWrittenToTheSameBytes) {
  FakeFileSystem fs;
  ASSERT_TRUE(fs.CreateDirectory("/lm").ok());
  const auto writer = EventWriter::Open(&fs, "/lm", "lm", {.salt = 0x5a17});
  ASSERT_TRUE(writer.ok()) << writer.status();
  const std::vector<EventFrame> frames = GoldenFrames();
  (*writer)->SetPreface(frames[0].body);
  size_t written = 0;
  ASSERT_TRUE((*writer)->Append({frames.data() + 1, 2}, &written).ok());
  const std::string fresh = fs.Contents("/lm/events-000001.log");
  if (std::getenv("STEPBACK_WRITE_GOLDEN") != nullptr) {
    std::filesystem::create_directories(std::filesystem::path(kGoldenFile).parent_path());
    std::ofstream(kGoldenFile, std::ios::binary) << fresh;
  }
  const std::string kept = FileText(kGoldenFile);
  EXPECT_EQ(fresh, kept);
  fs.SetContents("/lm/events-000001.log", kept);
  const auto events = ModelEvents::Open(&fs, {"lm", "/lm"});
  v1::EventRecord settings, created, merge, none;
  ASSERT_TRUE(*(*events)->Next(&settings) && *(*events)->Next(&created) && *(*events)->Next(&merge));
  EXPECT_FALSE(*(*events)->Next(&none));
  EXPECT_EQ(settings.settings().rounds().policy(), 2u);
  EXPECT_EQ(created.wall_nanos(), 1'700'000'000'000'000'000);
  EXPECT_EQ(merge.number(), 3u);
  EXPECT_EQ(merge.merge().members(0).numerator(), 1.0 / 3);
}

// The worked example of the documentation is this file.
TEST(EventGolden, TheDocumentationShowsItsBytes) {
  const std::string page = FileText(STEPBACK_GOLDEN_DIR "/../../docs/on_disk_format.md");
  const std::string kept = FileText(kGoldenFile);
  ASSERT_FALSE(kept.empty());
  for (size_t at = 0; at < kept.size(); at += 16) {
    std::string line = absl::StrFormat("%08x:", at);
    for (size_t i = at; i < std::min(at + 16, kept.size()); ++i)
      line += absl::StrFormat(i % 2 == 0 ? " %02x" : "%02x", static_cast<unsigned char>(kept[i]));
    EXPECT_THAT(page, HasSubstr(line));
  }
}

// --- filters ---

v1::EventRecord Event(const std::string& name, uint64_t term, uint64_t counter, const std::string& client) {
  v1::EventRecord record;
  record.set_name(name);
  record.set_term(term);
  record.set_counter(counter);
  if (client.empty()) return record;
  v1::StoredLabel* const field = record.add_fields();
  field->set_name("client");
  field->set_value(client);
  return record;
}

TEST(EventFilter, SelectsByNameClientAndVersion) {
  v1::EventRecord merge = Event("round_closed", 2, 7, "");
  merge.mutable_merge()->add_members()->set_client_id("w1");
  const v1::EventRecord refusal = Event("push_refused", 1, 9, "w0");
  EXPECT_TRUE(Matches({}, merge) && Matches({}, refusal));
  EXPECT_TRUE(Matches({.client = "w1"}, merge));
  EXPECT_FALSE(Matches({.client = "w1"}, refusal));
  EXPECT_TRUE(Matches({.client = "w0", .name = "push_refused"}, refusal));
  EXPECT_FALSE(Matches({.client = "w0", .name = "round_closed"}, refusal));
  EXPECT_TRUE(Matches({.since = *ParseVersion("2.7")}, merge));
  EXPECT_FALSE(Matches({.since = *ParseVersion("2.8")}, merge));
  EXPECT_FALSE(Matches({.since = *ParseVersion("2.1")}, refusal)) << "an earlier term";
  EXPECT_TRUE(Matches({.since = *ParseVersion("8")}, refusal)) << "a counter of any term";
  EXPECT_FALSE(Matches({.since = *ParseVersion("8")}, merge));
}

TEST(EventFilter, AVersionIsACounterOrATermAndACounter) {
  EXPECT_EQ(*ParseVersion("12"), (Version{0, 12}));
  EXPECT_EQ(*ParseVersion("3.0"), (Version{3, 0}));
  for (const char* bad : {"", ".", "1.", ".2", "0.2", "1.2.3", "x", "-1", "1.-2"})
    EXPECT_EQ(ParseVersion(bad).status().code(), StatusCode::kInvalidArgument) << bad;
}

}  // namespace
}  // namespace stepback

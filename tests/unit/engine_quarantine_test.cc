// A worker whose pushes are not finite, as everybody else sees it: rounds, operators, metrics, the next start.
#include <gtest/gtest.h>

#include <limits>

#include "tests/unit/engine_fixture.h"
#include "tests/unit/telemetry_scrape.h"

namespace stepback {
namespace {

using absl::StatusCode;
using std::chrono::seconds;

constexpr size_t kElements = 10;

ModelSpec Spec(Durability durability = Durability::kRound) {
  ModelSpec spec = DeltaSpec("lm", {kElements});
  spec.durability = durability;
  spec.lease_seconds = 3600;
  return spec;
}

class EngineQuarantine : public testing::Test {
 protected:
  void Create(const ModelSpec& spec) { model_ = server_.Create(spec, Constant(kElements, 5)); }
  absl::Status Bad(Worker* worker) {
    std::vector<float> values = Constant(kElements, 1);
    values[kElements - 1] = std::numeric_limits<float>::quiet_NaN();
    return worker->Push(values).status();
  }
  void ThrowOut(Worker* worker) {
    for (int i = 0; i < 3; ++i)
      ASSERT_THAT(Bad(worker), Refused(StatusCode::kInvalidArgument, "NONFINITE")) << i;
    server_.Quiesce(model_.get());
  }
  absl::Status Open(const std::string& id) {
    return Await<SessionOpened>([&](auto done) { model_->Open({.client_id = id}, done); }).status();
  }

  EngineFixture server_;
  std::shared_ptr<Handle> model_;
};

TEST_F(EngineQuarantine, TheRoundGoesOnWithoutTheWorker) {
  Create(Spec());
  Worker a(model_, "a"), b(model_, "b");
  ASSERT_TRUE(b.Push(Constant(kElements, 1)).ok());
  EXPECT_EQ(Weights(model_.get()), Constant(kElements, 5)) << "waits for a";
  ThrowOut(&a);
  EXPECT_EQ(Weights(model_.get()), Constant(kElements, 4));
  EXPECT_THAT(a.Push(Constant(kElements, 1)).status(), Refused(StatusCode::kFailedPrecondition, "QUARANTINED"));
  EXPECT_THAT(Open("a"), Refused(StatusCode::kFailedPrecondition, "QUARANTINED"));
}

TEST_F(EngineQuarantine, OperatorsSeeItInSessionsAndMetrics) {
  Create(Spec());
  Worker a(model_, "a"), b(model_, "b");
  ThrowOut(&a);
  const auto sessions = Await<std::vector<SessionInfo>>([&](auto done) { model_->Sessions(done); });
  ASSERT_TRUE(sessions.ok());
  ASSERT_EQ(sessions->size(), 2u);
  EXPECT_EQ((*sessions)[0].client_id, "b");
  EXPECT_EQ((*sessions)[1].client_id, "a");
  EXPECT_EQ((*sessions)[1].quarantine_remaining_seconds, 60);
  const auto scrape = telemetry::ParseScrape(server_.metrics.Scrape());
  EXPECT_EQ(scrape.at(R"(stepback_sessions_closed_total{model="lm",reason="quarantined"})"), 1);
  EXPECT_EQ(scrape.at(R"(stepback_nonfinite_updates_total{model="lm",action="dropped"})"), 3);
}

TEST_F(EngineQuarantine, IsOverAfterItsTime) {
  Create(Spec());
  Worker a(model_, "a");
  ThrowOut(&a);
  server_.Advance(model_.get(), seconds(59));
  EXPECT_THAT(a.Open().status(), Refused(StatusCode::kFailedPrecondition, "QUARANTINED"));
  server_.Advance(model_.get(), seconds(1));
  ASSERT_TRUE(a.Open().ok());
  EXPECT_TRUE(a.Push(Constant(kElements, 1)).ok()) << "under the number after the refused ones";
}

TEST_F(EngineQuarantine, HoldsOverAStartWhereSessionsDo) {
  Create(Spec(Durability::kPush));
  Worker a(model_, "a"), b(model_, "b");
  ASSERT_THAT(Bad(&b), Refused(StatusCode::kInvalidArgument, "NONFINITE"));
  ThrowOut(&a);
  for (int start = 0; start < 2; ++start) {  // from the log, then from a snapshot too
    model_.reset();
    server_.Start();
    const auto found = server_.engine->Find("lm");
    ASSERT_TRUE(found.ok()) << found.status();
    model_ = *found;
    ASSERT_THAT(Open("a"), Refused(StatusCode::kFailedPrecondition, "QUARANTINED")) << start;
    ASSERT_TRUE(Await<SnapshotInfo>([&](auto done) { model_->SaveSnapshot("", done); }).ok());
  }
  server_.Advance(model_.get(), seconds(60));
  EXPECT_TRUE(Open("a").ok());
}

}  // namespace
}  // namespace stepback

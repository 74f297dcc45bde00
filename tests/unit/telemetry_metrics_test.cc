#include "server/telemetry/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "tests/unit/telemetry_scrape.h"

namespace stepback::telemetry {
namespace {

Metrics::Options Limits(size_t max_models, size_t max_workers = 64) {
  Metrics::Options options;
  options.limits.max_models = max_models;
  options.limits.max_workers = max_workers;
  return options;
}

TEST(Metrics, EveryFamilyOfTheTableIsAnnouncedFromTheStart) {
  Metrics metrics;
  const Scraped scraped = ParseScrape(metrics.Scrape());
  for (const MetricRow& row : MetricTable())
    EXPECT_EQ(scraped.types.count(std::string(row.name)), 1u) << row.name;
  EXPECT_EQ(scraped.types.size(), MetricTable().size());
}

TEST(Metrics, EveryRowHasSeriesOnceItsSourceExists) {
  Metrics metrics;
  metrics.ForMethod(RpcType::kUnary, "stepback.v1.ModelService", "GetModel");
  metrics.WatchDisk("/tmp");
  metrics.WatchCertificate("/nonexistent.pem");
  const auto model = metrics.ForModel("lm");
  model->SetInfo({"sgd", "lookahead", "f32", "cpu"});
  model->SetReportedValue("accuracy", 0.5);
  model->SetWorker("w0", {1, 2, 3, 4, 5, 6, 7});
  model->SetWaitingFor({"w0"});
  const std::string text = metrics.Scrape();
  for (const MetricRow& row : MetricTable()) {
    const std::string name = "\n" + std::string(row.name);
    const bool found = text.find(name + "{") != std::string::npos ||
                       text.find(name + " ") != std::string::npos ||
                       text.find(name + "_count{") != std::string::npos;
    EXPECT_TRUE(found) << row.name;
  }
}

TEST(Metrics, AModelsSeriesAreThereAtZeroAsSoonAsItAppears) {
  Metrics metrics;
  metrics.ForModel("lm");
  const Scraped scraped = ParseScrape(metrics.Scrape());
  EXPECT_EQ(scraped.at(R"(stepback_pushes_total{model="lm",kind="delta",outcome="applied"})"), 0);
  EXPECT_EQ(scraped.at(R"(stepback_outer_syncs_total{model="lm",trigger="deadline"})"), 0);
  EXPECT_EQ(scraped.at(R"(stepback_received_bytes_total{model="lm",encoding="bf16",transport="grpc"})"), 0);
  EXPECT_EQ(scraped.at(R"(stepback_push_duration_seconds_count{model="lm",stage="decode"})"), 0);
  EXPECT_EQ(scraped.at(R"(stepback_model_state_bytes{model="lm",kind="momentum",tier="gpu"})"), 0);
}

TEST(Metrics, WhatIsReportedShowsUnderItsOwnLabelsAndNoOther) {
  Metrics metrics;
  const auto model = metrics.ForModel("lm");
  model->OnPush(PushKind::kDelta, PushOutcome::kApplied, 4096);
  model->OnPush(PushKind::kDelta, PushOutcome::kApplied, 4097);
  model->OnPush(PushKind::kGradient, PushOutcome::kStale, 10);
  const Scraped scraped = ParseScrape(metrics.Scrape());
  EXPECT_EQ(scraped.at(R"(stepback_pushes_total{model="lm",kind="delta",outcome="applied"})"), 2);
  EXPECT_EQ(scraped.at(R"(stepback_pushes_total{model="lm",kind="gradient",outcome="stale"})"), 1);
  EXPECT_EQ(scraped.at(R"(stepback_pushes_total{model="lm",kind="weights",outcome="error"})"), 0);
  EXPECT_EQ(scraped.at(R"(stepback_push_bytes_bucket{model="lm",le="1024"})"), 1);
  EXPECT_EQ(scraped.at(R"(stepback_push_bytes_bucket{model="lm",le="4096"})"), 2);
  EXPECT_EQ(scraped.at(R"(stepback_push_bytes_bucket{model="lm",le="+Inf"})"), 3);
  EXPECT_EQ(scraped.at(R"(stepback_push_bytes_sum{model="lm"})"), 4096 + 4097 + 10);
}

TEST(Metrics, EveryIntentReachesItsSeries) {
  Metrics metrics;
  const auto model = metrics.ForModel("lm");
  model->OnStaleness(3);
  model->OnNonfinite(NonfiniteAction::kOverflow);
  model->OnReceivedBytes("bf16", 100);
  model->OnReceivedBytes("int3", 7);
  model->OnSentBytes("f32", 200);
  model->OnPull(PullResult::kNotModified, 0.5);
  model->OnInnerSteps(5);
  model->OnSync(SyncTrigger::kSteps, 2);
  model->OnSyncStage(SyncStage::kPublish, 0.25);
  model->SetParameters(1000);
  model->SetLookahead(5, 0.5);
  model->SetStateBytes(StateKind::kSlow, MemoryTier::kHost, 4000);
  model->SetVersion(17);
  model->SetUpdateNorm(NormKind::kOuter, 1.5);
  model->SetSlowWeightNorm(2.5);
  model->SetSlowFastDistance(3.5);
  model->SetQueue(Queue::kApply, 3, 64);
  model->SetSessions(SessionState::kActive, 2);
  model->OnSessionEnd(SessionEnd::kExpired);
  model->SetReportedValue("accuracy", 0.97);
  model->OnCheckpoint(CheckpointOp::kSave, 1.25);
  model->OnCheckpointFailure(CheckpointOp::kSave, CheckpointFailure::kNoSpace);
  model->SetLastCheckpoint(1.7e9, 5000);
  model->SetCheckpointInterval(60);
  const Scraped s = ParseScrape(metrics.Scrape());
  EXPECT_EQ(s.at(R"(stepback_staleness_steps_bucket{model="lm",le="2"})"), 0);
  EXPECT_EQ(s.at(R"(stepback_staleness_steps_bucket{model="lm",le="4"})"), 1);
  EXPECT_EQ(s.at(R"(stepback_nonfinite_updates_total{model="lm",action="overflow"})"), 1);
  EXPECT_EQ(s.at(R"(stepback_received_bytes_total{model="lm",encoding="bf16",transport="grpc"})"), 100);
  EXPECT_EQ(s.at(R"(stepback_received_bytes_total{model="lm",encoding="_other",transport="grpc"})"), 7);
  EXPECT_EQ(s.at(R"(stepback_sent_bytes_total{model="lm",encoding="f32",transport="grpc"})"), 200);
  EXPECT_EQ(s.at(R"(stepback_pulls_total{model="lm",result="not_modified"})"), 1);
  EXPECT_EQ(s.at(R"(stepback_pull_duration_seconds_sum{model="lm"})"), 0.5);
  EXPECT_EQ(s.at(R"(stepback_inner_steps_total{model="lm"})"), 5);
  EXPECT_EQ(s.at(R"(stepback_outer_syncs_total{model="lm",trigger="steps"})"), 1);
  EXPECT_EQ(s.at(R"(stepback_outer_sync_duration_seconds_sum{model="lm",stage="total"})"), 2);
  EXPECT_EQ(s.at(R"(stepback_outer_sync_duration_seconds_sum{model="lm",stage="publish"})"), 0.25);
  EXPECT_EQ(s.at(R"(stepback_model_parameters{model="lm"})"), 1000);
  EXPECT_EQ(s.at(R"(stepback_model_lookahead_steps{model="lm"})"), 5);
  EXPECT_EQ(s.at(R"(stepback_model_lookahead_alpha{model="lm"})"), 0.5);
  EXPECT_EQ(s.at(R"(stepback_model_state_bytes{model="lm",kind="slow",tier="host"})"), 4000);
  EXPECT_EQ(s.at(R"(stepback_model_version{model="lm"})"), 17);
  EXPECT_EQ(s.at(R"(stepback_update_norm{model="lm",kind="outer"})"), 1.5);
  EXPECT_EQ(s.at(R"(stepback_slow_weight_norm{model="lm"})"), 2.5);
  EXPECT_EQ(s.at(R"(stepback_slow_fast_distance{model="lm"})"), 3.5);
  EXPECT_EQ(s.at(R"(stepback_queue_depth{model="lm",queue="apply"})"), 3);
  EXPECT_EQ(s.at(R"(stepback_queue_limit{model="lm",queue="apply"})"), 64);
  EXPECT_EQ(s.at(R"(stepback_sessions{model="lm",state="active"})"), 2);
  EXPECT_EQ(s.at(R"(stepback_sessions_closed_total{model="lm",reason="expired"})"), 1);
  EXPECT_EQ(s.at(R"(stepback_reported_value{model="lm",name="accuracy"})"), 0.97);
  EXPECT_EQ(s.at(R"(stepback_checkpoint_duration_seconds_sum{model="lm",op="save"})"), 1.25);
  EXPECT_EQ(s.at(R"(stepback_checkpoint_failures_total{model="lm",op="save",reason="no_space"})"), 1);
  EXPECT_EQ(s.at(R"(stepback_checkpoint_last_success_timestamp_seconds{model="lm"})"), 1.7e9);
  EXPECT_EQ(s.at(R"(stepback_checkpoint_size_bytes{model="lm"})"), 5000);
  EXPECT_EQ(s.at(R"(stepback_checkpoint_interval_seconds{model="lm"})"), 60);
}

TEST(Metrics, ServerWideReportsReachTheirSeries) {
  Metrics::Options options;
  options.build = {
      .version = "1.2.3", .revision = "abc", .cuda = "none", .grpc = "1.51.1", .build_type = "Debug"};
  Metrics metrics(options);
  metrics.SetReady(true);
  metrics.SetModelCount(ModelPhase::kServing, 4);
  metrics.OnRejected(RejectReason::kTooLarge);
  metrics.AddInflightBytes(1000);
  metrics.AddInflightBytes(-400);
  metrics.SetInflightLimit(1 << 20);
  const Scraped s = ParseScrape(metrics.Scrape());
  EXPECT_EQ(s.at(R"(stepback_build_info{version="1.2.3",revision="abc",cuda="none",grpc="1.51.1"})"), 1);
  EXPECT_EQ(s.at("stepback_ready"), 1);
  EXPECT_EQ(s.at("stepback_draining"), 0);
  EXPECT_EQ(s.at(R"(stepback_models{state="serving"})"), 4);
  EXPECT_EQ(s.at(R"(stepback_models{state="failed"})"), 0);
  EXPECT_EQ(s.at(R"(stepback_rejected_total{reason="too_large"})"), 1);
  EXPECT_EQ(s.at("stepback_inflight_bytes"), 600);
  EXPECT_EQ(s.at("stepback_inflight_limit_bytes"), 1 << 20);
}

TEST(Metrics, MethodsCountUnderTheNamesOfStockDashboards) {
  Metrics metrics;
  RpcMetrics* push = metrics.ForMethod(RpcType::kClientStream, "stepback.v1.TrainingService", "Push");
  EXPECT_EQ(metrics.ForMethod(RpcType::kClientStream, "stepback.v1.TrainingService", "Push"), push);
  push->OnStarted();
  push->OnStarted();
  for (int i = 0; i < 3; ++i) push->OnMessageReceived();
  push->OnMessageSent();
  push->OnHandled(absl::StatusCode::kCancelled, 0.3);
  push->OnHandled(static_cast<absl::StatusCode>(99), 0.3);
  const Scraped s = ParseScrape(metrics.Scrape());
  const std::string method =
      R"({grpc_type="client_stream",grpc_service="stepback.v1.TrainingService",grpc_method="Push")";
  EXPECT_EQ(s.at("grpc_server_started_total" + method + "}"), 2);
  EXPECT_EQ(s.at("grpc_server_msg_received_total" + method + "}"), 3);
  EXPECT_EQ(s.at("grpc_server_msg_sent_total" + method + "}"), 1);
  EXPECT_EQ(s.at("grpc_server_handled_total" + method + R"(,grpc_code="Canceled"})"), 1);
  EXPECT_EQ(s.at("grpc_server_handled_total" + method + R"(,grpc_code="Unknown"})"), 1);
  EXPECT_EQ(s.at("grpc_server_handled_total" + method + R"(,grpc_code="Unauthenticated"})"), 0);
  EXPECT_EQ(s.at("grpc_server_handling_seconds_count" + method + "}"), 2);
}

TEST(Metrics, ARemovedModelLeavesNoSeriesAndItsHandleStaysUsable) {
  Metrics metrics;
  const auto model = metrics.ForModel("lm");
  metrics.ForModel("other-model");
  model->SetInfo({"sgd", "none", "f32", "cpu"});
  model->SetWorker("w0", {.train_loss = 1});
  metrics.RemoveModel("lm");
  model->OnPush(PushKind::kDelta, PushOutcome::kApplied, 1);
  model->SetInfo({"sgd", "none", "f32", "cpu"});
  model->SetWorker("w1", {.train_loss = 1});
  model->SetWaitingFor({"w2"});
  model->SetReportedValue("accuracy", 1);
  const Scraped scraped = ParseScrape(metrics.Scrape());
  EXPECT_EQ(scraped.Count("model=\"lm\""), 0);
  EXPECT_GT(scraped.Count("model=\"other-model\""), 0);
}

TEST(Metrics, AModelMadeAgainStartsAtZeroWhateverTheOldHandleDoes) {
  Metrics metrics;
  const auto before = metrics.ForModel("lm");
  before->OnInnerSteps(7);
  metrics.RemoveModel("lm");
  metrics.ForModel("lm")->OnInnerSteps(2);
  before->OnInnerSteps(100);
  EXPECT_EQ(ParseScrape(metrics.Scrape()).at(R"(stepback_inner_steps_total{model="lm"})"), 2);
}

TEST(Metrics, ModelsBeyondTheBoundShareOtherWithoutItsGauges) {
  Metrics metrics(Limits(2));
  metrics.ForModel("a");
  metrics.ForModel("b");
  for (const char* name : {"c", "d"}) {
    metrics.ForModel(name)->OnInnerSteps(1);
    metrics.ForModel(name)->SetVersion(9);
    metrics.ForModel(name)->SetInfo({"sgd", "none", "f32", "cpu"});
    metrics.ForModel(name)->SetWorker("w", {.train_loss = 1});
  }
  const Scraped scraped = ParseScrape(metrics.Scrape());
  EXPECT_EQ(scraped.at(R"(stepback_inner_steps_total{model="_other"})"), 2);
  EXPECT_FALSE(scraped.Has(R"(stepback_model_version{model="_other"})"));
  EXPECT_EQ(scraped.Count("stepback_model_info{model=\"_other\""), 0);
  EXPECT_EQ(scraped.Count("stepback_worker_train_loss"), 0);
  EXPECT_EQ(scraped.Count("model=\"c\"") + scraped.Count("model=\"d\""), 0);
}

TEST(Metrics, APlaceSetFreeGoesToTheNextModel) {
  Metrics metrics(Limits(1));
  metrics.ForModel("a");
  metrics.RemoveModel("a");
  metrics.ForModel("b")->OnInnerSteps(3);
  EXPECT_EQ(ParseScrape(metrics.Scrape()).at(R"(stepback_inner_steps_total{model="b"})"), 3);
}

TEST(Metrics, InfoShowsTheNewestValuesOnly) {
  Metrics metrics;
  const auto model = metrics.ForModel("lm");
  model->SetInfo({"sgd", "lookahead", "f32", "cpu"});
  model->SetInfo({"adamw", "lookahead", "bf16", "cuda:0"});
  const Scraped scraped = ParseScrape(metrics.Scrape());
  EXPECT_EQ(scraped.Count("stepback_model_info{"), 1);
  EXPECT_EQ(
      scraped.at(
          R"(stepback_model_info{model="lm",inner_optimizer="adamw",outer_optimizer="lookahead",dtype="bf16",device="cuda:0"})"),
      1);
}

TEST(Metrics, ReportedNamesAreBounded) {
  Metrics::Options options;
  options.limits.max_reported_names = 2;
  Metrics metrics(options);
  const auto model = metrics.ForModel("lm");
  for (const char* name : {"a", "b", "c", "d"}) model->SetReportedValue(name, 1);
  const Scraped scraped = ParseScrape(metrics.Scrape());
  EXPECT_EQ(scraped.Count("stepback_reported_value{"), 3);
  EXPECT_TRUE(scraped.Has(R"(stepback_reported_value{model="lm",name="_other"})"));
}

TEST(Metrics, HostileNamesAreEscaped) {
  Metrics metrics;
  metrics.ForModel("a\"} 1\nevil{x=\"");
  const std::string text = metrics.Scrape();
  EXPECT_EQ(text.find("\nevil"), std::string::npos);
  EXPECT_NE(text.find(R"(model="a\"} 1\nevil{x=\"")"), std::string::npos);
}

TEST(Metrics, ScrapesWhileModelsComeGoAndCount) {
  Metrics metrics;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const std::string name = "model-" + std::to_string(t);
      for (int i = 0; i < 50; ++i) {
        const auto model = metrics.ForModel(name);
        model->OnPush(PushKind::kDelta, PushOutcome::kApplied, 1);
        model->SetWorker("w", {.train_loss = i});
        if (i < 49) metrics.RemoveModel(name);
      }
    });
  }
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(metrics.Scrape().empty());
  for (auto& thread : threads) thread.join();
  const Scraped scraped = ParseScrape(metrics.Scrape());
  EXPECT_EQ(scraped.Count("stepback_push_bytes_count{"), 4);
  EXPECT_EQ(scraped.at(R"(stepback_pushes_total{model="model-3",kind="delta",outcome="applied"})"), 1);
}

TEST(MetricTable, NamesAreUniqueAndFollowTheNamingRules) {
  std::set<std::string_view> names;
  for (const MetricRow& row : MetricTable()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_EQ(row.name.ends_with("_total"), row.type == MetricType::kCounter) << row.name;
    EXPECT_EQ(row.buckets.empty(), row.type != MetricType::kHistogram) << row.name;
    EXPECT_TRUE(std::is_sorted(row.buckets.begin(), row.buckets.end())) << row.name;
    EXPECT_TRUE(row.help.ends_with(".")) << row.name;
  }
}

TEST(MetricTable, OpenLabelsComeFirst) {
  for (const MetricRow& row : MetricTable()) {
    const bool partitioned = std::is_partitioned(row.labels.begin(), row.labels.end(),
                                                 [](const LabelSpec& label) { return label.values.empty(); });
    EXPECT_TRUE(partitioned) << row.name;
  }
}

}  // namespace
}  // namespace stepback::telemetry

#include <gtest/gtest.h>

#include <cmath>

#include "server/telemetry/metrics.h"
#include "tests/unit/telemetry_scrape.h"

namespace stepback::telemetry {
namespace {

class WorkerMetricsTest : public ::testing::Test {
 protected:
  WorkerMetricsTest() : metrics_(TwoWorkers()), model_(metrics_.ForModel("lm")) {}

  static Metrics::Options TwoWorkers() {
    Metrics::Options options;
    options.limits.max_workers = 2;
    return options;
  }
  Scraped Scrape() { return ParseScrape(metrics_.Scrape()); }
  static std::string Loss(const std::string& worker) {
    return "stepback_worker_train_loss{model=\"lm\",worker=\"" + worker + "\"}";
  }
  static std::string Waiting(const std::string& worker) {
    return "stepback_round_waiting_for{model=\"lm\",worker=\"" + worker + "\"}";
  }

  Metrics metrics_;
  std::shared_ptr<ModelMetrics> model_;
};

TEST_F(WorkerMetricsTest, EveryFieldHasItsOwnSeries) {
  model_->SetWorker("w0", {1, 2, 3, 4, 5, 6, 7});
  const Scraped s = Scrape();
  const std::string labels = R"({model="lm",worker="w0"})";
  EXPECT_EQ(s.at("stepback_worker_train_loss" + labels), 1);
  EXPECT_EQ(s.at("stepback_worker_tokens_per_second" + labels), 2);
  EXPECT_EQ(s.at("stepback_worker_gradient_norm" + labels), 3);
  EXPECT_EQ(s.at("stepback_worker_inner_learning_rate" + labels), 4);
  EXPECT_EQ(s.at("stepback_worker_compute_seconds" + labels), 5);
  EXPECT_EQ(s.at("stepback_worker_wait_seconds" + labels), 6);
  EXPECT_EQ(s.at("stepback_worker_staleness" + labels), 7);
}

TEST_F(WorkerMetricsTest, AFieldLeftOutKeepsItsValueAndOneNeverGivenHasNoSeries) {
  model_->SetWorker("w0", {.train_loss = 2.5});
  model_->SetWorker("w0", {.gradient_norm = 1});
  const Scraped s = Scrape();
  EXPECT_EQ(s.at(Loss("w0")), 2.5);
  EXPECT_EQ(s.Count("stepback_worker_wait_seconds"), 0);
}

TEST_F(WorkerMetricsTest, ALossThatIsNotANumberIsShownAsSuch) {
  model_->SetWorker("w0", {.train_loss = NAN});
  EXPECT_TRUE(std::isnan(Scrape().at(Loss("w0"))));
}

TEST_F(WorkerMetricsTest, WorkersBeyondTheBoundShareOther) {
  for (const char* worker : {"w0", "w1", "w2", "w3"}) model_->SetWorker(worker, {.train_loss = 1});
  model_->SetWorker("w3", {.train_loss = 8});
  const Scraped s = Scrape();
  EXPECT_EQ(s.Count("stepback_worker_train_loss{"), 3);
  EXPECT_EQ(s.at(Loss("_other")), 8);
  EXPECT_EQ(s.at(Loss("w1")), 1);
}

TEST_F(WorkerMetricsTest, ARemovedWorkerGivesItsPlaceBack) {
  for (const char* worker : {"w0", "w1"}) model_->SetWorker(worker, {.train_loss = 1});
  model_->RemoveWorker("w0");
  model_->SetWorker("w2", {.train_loss = 3});
  const Scraped s = Scrape();
  EXPECT_FALSE(s.Has(Loss("w0")));
  EXPECT_EQ(s.at(Loss("w2")), 3);
  EXPECT_FALSE(s.Has(Loss("_other")));
}

TEST_F(WorkerMetricsTest, RemovingAWorkerNeverSeenChangesNothing) {
  model_->SetWorker("w0", {.train_loss = 1});
  model_->RemoveWorker("nobody");
  model_->RemoveWorker("_other");
  EXPECT_EQ(Scrape().Count("stepback_worker_train_loss{"), 1);
}

TEST_F(WorkerMetricsTest, TheRoundWaitsForExactlyTheWorkersNamed) {
  model_->SetWaitingFor({"w0", "w1"});
  EXPECT_EQ(Scrape().at(Waiting("w0")), 1);
  model_->SetWaitingFor({"w1"});
  EXPECT_EQ(Scrape().at(Waiting("w0")), 0);
  EXPECT_EQ(Scrape().at(Waiting("w1")), 1);
  model_->SetWaitingFor({});
  EXPECT_EQ(Scrape().at(Waiting("w1")), 0);
}

TEST_F(WorkerMetricsTest, AWorkerThatNoRoundEverWaitedForIsAtZero) {
  model_->SetWorker("w0", {.train_loss = 1});
  model_->SetWaitingFor({"w1"});
  EXPECT_EQ(Scrape().at(Waiting("w0")), 0);
  model_->RemoveWorker("w0");
  EXPECT_FALSE(Scrape().Has(Waiting("w0")));
}

TEST_F(WorkerMetricsTest, WaitingForOneOfManyUnnamedWorkersShowsAsOther) {
  model_->SetWaitingFor({"w0", "w1", "w2", "w3"});
  EXPECT_EQ(Scrape().at(Waiting("_other")), 1);
  model_->SetWaitingFor({"w0", "w3"});
  EXPECT_EQ(Scrape().at(Waiting("_other")), 1);
  model_->SetWaitingFor({"w0"});
  EXPECT_EQ(Scrape().at(Waiting("_other")), 0);
}

}  // namespace
}  // namespace stepback::telemetry

// What is tried again, how long, and what ends it.
#include "client/cpp/retry.h"

#include <gtest/gtest.h>

#include <thread>

#include "server/base/errors.h"

namespace stepback::client {
namespace {

using absl::StatusCode;
using std::chrono::milliseconds;

RetryOptions Quick() {
  return {
      .backoff_initial = milliseconds(1), .backoff_max = milliseconds(2), .give_up_after = milliseconds(20)};
}

TEST(ClientRetry, OnlyBrokenConnectionsAndRequestsForPatienceAreTransient) {
  EXPECT_TRUE(IsTransient(absl::UnavailableError("connection refused")));
  EXPECT_TRUE(IsTransient(absl::UnknownError("Stream removed")));
  EXPECT_TRUE(IsTransient(absl::InternalError("Received RST_STREAM with error code 2")));
  EXPECT_TRUE(IsTransient(WithRetryAfter(Error(StatusCode::kResourceExhausted, "STAGING_FULL", "full"), 1)));
  EXPECT_TRUE(IsTransient(Error(StatusCode::kAborted, "UPLOAD_REPLACED", "x")));
  EXPECT_TRUE(IsTransient(Error(StatusCode::kAborted, "VERSION_GONE", "x")));
  EXPECT_FALSE(IsTransient(Error(StatusCode::kInternal, "INTERNAL", "a fault of the server")));
  EXPECT_FALSE(IsTransient(Error(StatusCode::kResourceExhausted, "MEMORY_FULL", "full")));
  EXPECT_FALSE(IsTransient(Error(StatusCode::kAborted, "STALE_BASE", "x")));
  EXPECT_FALSE(IsTransient(absl::InvalidArgumentError("x")));
  EXPECT_FALSE(IsTransient(absl::DeadlineExceededError("x")));
  EXPECT_FALSE(IsTransient(absl::OkStatus()));
}

TEST(ClientRetry, FinalFailuresComeBackAsTheyAre) {
  Interrupt interrupt;
  Retry retry(Quick(), &interrupt);
  const absl::Status failure = Error(StatusCode::kNotFound, "MODEL_NOT_FOUND", "no");
  EXPECT_EQ(retry.Wait(failure), failure);
}

TEST(ClientRetry, GivesUpAfterItsTimeAndKeepsTheReason) {
  Interrupt interrupt;
  Retry retry(Quick(), &interrupt);
  const absl::Status failure = Error(StatusCode::kUnavailable, "DRAINING", "going away");
  absl::Status status;
  while (status.ok()) status = retry.Wait(failure);
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(status), "DRAINING");
  EXPECT_NE(status.message().find("gave up after"), absl::string_view::npos);
  EXPECT_GE(retry.attempts(), 5u);
}

TEST(ClientRetry, ProgressStartsPatienceAgain) {
  Interrupt interrupt;
  RetryOptions options = Quick();
  options.give_up_after = milliseconds(3);
  Retry retry(options, &interrupt);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(retry.Wait(absl::UnavailableError("x")).ok());
    retry.Progress();
  }
}

TEST(ClientRetry, ADeadlineEndsItEarlier) {
  Interrupt interrupt;
  Retry retry(Quick(), &interrupt, Clock::Real()->Now());
  EXPECT_EQ(retry.Wait(absl::UnavailableError("x")).code(), StatusCode::kDeadlineExceeded);
}

TEST(ClientRetry, BareInternalErrorsAreTriedThreeTimesOnly) {
  Interrupt interrupt;
  Retry retry(Quick(), &interrupt);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(retry.Wait(absl::InternalError("x")).ok());
  EXPECT_EQ(retry.Wait(absl::InternalError("x")).code(), StatusCode::kInternal);
}

TEST(ClientRetry, WaitsAsLongAsTheServerAsks) {
  Interrupt interrupt;
  Retry retry({.backoff_initial = milliseconds(1), .give_up_after = milliseconds(10000)}, &interrupt);
  const TimePoint begin = Clock::Real()->Now();
  EXPECT_TRUE(retry.Wait(WithRetryAfter(absl::ResourceExhaustedError("x"), 0.03)).ok());
  EXPECT_GE(Clock::Real()->Now() - begin, milliseconds(30));
}

TEST(ClientRetry, CancelWakesASleeper) {
  Interrupt interrupt;
  Retry retry({.backoff_initial = milliseconds(60000), .backoff_max = milliseconds(60000)}, &interrupt);
  std::thread other([&] { interrupt.Cancel(); });
  EXPECT_EQ(retry.Wait(absl::UnavailableError("x")).code(), StatusCode::kCancelled);
  other.join();
}

TEST(ClientRetry, TheCallersHookEndsAWait) {
  int asked = 0;
  Interrupt interrupt([&] { return ++asked > 2; });
  EXPECT_EQ(interrupt.Sleep(std::chrono::seconds(60)).code(), StatusCode::kCancelled);
  EXPECT_EQ(asked, 3);
}

}  // namespace
}  // namespace stepback::client

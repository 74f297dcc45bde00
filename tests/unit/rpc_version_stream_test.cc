#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "server/base/crc32c.h"
#include "server/base/errors.h"
#include "server/rpc/step_stream.h"
#include "tests/unit/rpc_fixture.h"

namespace stepback {
namespace {

// What a reader makes of one version's messages, whichever call they come from.
template <typename Response>
struct Received {
  v1::PullHeader header;
  std::string data;
  v1::Commit commit;
  uint32_t crc = 0;
  int chunks = 0, waiting = 0;
  bool committed = false;

  void ReadAll(RawCall* call) {
    while (const auto message = call->ReadAs<Response>()) Take(*message);
  }
  void Take(const Response& message) {
    if (message.has_waiting()) ++waiting;
    if (message.has_header()) header = message.header();
    if (message.has_chunk()) TakeChunk(message.chunk());
    if (message.has_commit()) {
      EXPECT_FALSE(committed);
      commit = message.commit();
      committed = true;
    }
  }
  void TakeChunk(const v1::Chunk& chunk) {
    EXPECT_EQ(chunk.offset(), data.size());
    EXPECT_EQ(chunk.crc32c(), Crc32c(chunk.data().data(), chunk.data().size()));
    const uint32_t bits = chunk.crc32c();
    uint8_t bytes[4] = {uint8_t(bits), uint8_t(bits >> 8), uint8_t(bits >> 16), uint8_t(bits >> 24)};
    crc = ExtendCrc32c(crc, bytes, 4);
    data += chunk.data();
    ++chunks;
  }
};

class VersionStreamTest : public RpcTest {
 protected:
  VersionStreamTest() {
    weights_.resize(kElements);
    std::iota(weights_.begin(), weights_.end(), 1.0f);
    model().Publish(weights_);
  }
  std::string Bytes() const {
    return {reinterpret_cast<const char*>(weights_.data()), weights_.size() * sizeof(float)};
  }
  RawCall& Start(RawCall& call, const google::protobuf::MessageLite& request) {
    EXPECT_TRUE(call.Write(request));
    call.WritesDone();
    return call;
  }

  std::vector<float> weights_;
};

TEST_F(VersionStreamTest, PullSendsHeaderChunksAndCommit) {
  RawCall call(channel_, kPullMethod);
  Start(call, Pull(100'000));
  Received<v1::PullResponse> got;
  got.ReadAll(&call);
  EXPECT_EQ(Told(call.Finish()), "OK");
  EXPECT_EQ(got.header.version().counter(), 1u);
  EXPECT_EQ(got.header.total_bytes(), Bytes().size());
  EXPECT_EQ(got.header.codec(), "f32");
  EXPECT_EQ(got.header.fingerprint().size(), 32u);
  EXPECT_EQ(got.header.settings().outer().name(), "nesterov");
  ASSERT_EQ(got.header.fragment_versions_size(), 1);
  EXPECT_EQ(got.header.fragment_versions(0).counter(), 1u);
  EXPECT_EQ(got.chunks, 42);
  EXPECT_TRUE(got.data == Bytes());
  ASSERT_TRUE(got.committed);
  EXPECT_EQ(got.commit.crc32c(), got.crc);
  EXPECT_EQ(got.commit.version().counter(), 1u);
  EXPECT_TRUE(model().Eventually([&] { return model().live_pins() == 0; }));
}

TEST_F(VersionStreamTest, PullSaysWhenThereIsNothingNewer) {
  v1::PullRequest request = Pull();
  request.mutable_since()->set_term(1);
  request.mutable_since()->set_counter(1);
  RawCall call(channel_, kPullMethod);
  Start(call, request);
  Received<v1::PullResponse> got;
  got.ReadAll(&call);
  EXPECT_EQ(Told(call.Finish()), "OK");
  EXPECT_TRUE(got.header.not_modified());
  EXPECT_EQ(got.chunks, 0);
  ASSERT_TRUE(got.committed);
  EXPECT_EQ(got.commit.crc32c(), 0u);
}

TEST_F(VersionStreamTest, PullWaitsForANewerVersionAndSaysSoMeanwhile) {
  context_.waiting_interval = std::chrono::milliseconds(20);
  StartServer();
  model().SetWaitingFor("waits for worker-1");
  v1::PullRequest request = Pull();
  request.mutable_since()->set_term(1);
  request.mutable_since()->set_counter(1);
  request.set_wait(true);
  RawCall call(channel_, kPullMethod);
  Start(call, request);
  for (int i = 0; i < 3; ++i) {
    const auto waiting = call.ReadAs<v1::PullResponse>();
    ASSERT_TRUE(waiting && waiting->has_waiting());
    EXPECT_EQ(waiting->waiting().reason(), "waits for worker-1");
  }
  weights_[0] = 99;
  model().Publish(weights_);
  Received<v1::PullResponse> got;
  got.ReadAll(&call);
  EXPECT_EQ(Told(call.Finish()), "OK");
  EXPECT_EQ(got.header.version().counter(), 2u);
  EXPECT_TRUE(got.data == Bytes());
}

TEST_F(VersionStreamTest, AWaitEndsWithTheErrorThatEndsIt) {
  v1::PullRequest request = Pull();
  request.mutable_since()->set_term(1);
  request.mutable_since()->set_counter(1);
  request.set_wait(true);
  RawCall call(channel_, kPullMethod);
  Start(call, request);
  ASSERT_TRUE(model().Eventually([&] { return model().waits() == 1; }));
  model().EndWaits(Error(absl::StatusCode::kNotFound, "MODEL_DELETED", "gone"));
  EXPECT_EQ(Told(call.Finish()), "NOT_FOUND MODEL_DELETED");
}

TEST_F(VersionStreamTest, AWaitIsDroppedWhenTheCallerGoes) {
  v1::PullRequest request = Pull();
  request.mutable_since()->set_term(1);
  request.mutable_since()->set_counter(1);
  request.set_wait(true);
  RawCall call(channel_, kPullMethod);
  Start(call, request);
  ASSERT_TRUE(model().Eventually([&] { return model().waits() == 1; }));
  call.Cancel();
  EXPECT_TRUE(model().Eventually([&] { return model().waits() == 0; }));
}

// The weights are larger than what the transport takes without a reader, so the stream is stuck in a write.
class StalledReaderTest : public VersionStreamTest {
 protected:
  StalledReaderTest() {
    weights_.resize(16 << 20);
    model().Publish(weights_);
  }
};

TEST_F(StalledReaderTest, IsToldThatItsVersionIsGone) {
  RawCall call(channel_, kPullMethod);
  Start(call, Pull(2 << 20));
  ASSERT_TRUE(call.ReadAs<v1::PullResponse>()->has_header());
  ASSERT_TRUE(model().Eventually([&] { return model().live_pins() == 1; }));
  model().RevokeAll();
  Received<v1::PullResponse> got;
  got.ReadAll(&call);
  EXPECT_FALSE(got.committed);
  EXPECT_EQ(Told(call.Finish()), "ABORTED VERSION_GONE");
  EXPECT_TRUE(model().Eventually([&] { return model().live_pins() == 0; }));
}

TEST_F(StalledReaderTest, ThatReadsNothingLosesItsCallAfterTheGrace) {
  context_.stalled_reader_grace = std::chrono::milliseconds(50);
  StartServer();
  RawCall call(channel_, kPullMethod);
  Start(call, Pull(2 << 20));
  ASSERT_TRUE(call.ReadAs<v1::PullResponse>()->has_header());
  ASSERT_TRUE(model().Eventually([&] { return model().live_pins() == 1; }));
  model().RevokeAll();
  EXPECT_TRUE(model().Eventually([&] { return model().live_pins() == 0; }))
      << "the transport still holds the version";
}

TEST_F(VersionStreamTest, StepSendsAcceptedAndTheVersionThatHoldsThePush) {
  PushAnswer answer;
  answer.outcome = PushOutcome::kApplied;
  answer.sequence = 1;
  answer.version = {1, 1};
  model().AnswerWith(answer);
  RawCall call(channel_, kStepMethod);
  ASSERT_TRUE(call.Write(StepHeader(1 << 20)));
  ASSERT_TRUE(call.Write(Chunk<v1::StepRequest>(0, "abcdefgh")));
  call.WritesDone();
  const auto accepted = call.ReadAs<v1::StepResponse>();
  ASSERT_TRUE(accepted && accepted->has_accepted());
  EXPECT_EQ(accepted->accepted().sequence(), 1u);
  Received<v1::StepResponse> got;
  got.ReadAll(&call);
  EXPECT_EQ(Told(call.Finish()), "OK");
  EXPECT_EQ(got.chunks, 4);
  EXPECT_TRUE(got.data == Bytes());
  EXPECT_EQ(got.commit.crc32c(), got.crc);
  EXPECT_EQ(model().received(), "abcdefgh");
}

TEST_F(VersionStreamTest, StepWaitsForItsRound) {
  context_.waiting_interval = std::chrono::milliseconds(20);
  StartServer();
  PushAnswer answer;
  answer.outcome = PushOutcome::kBuffered;
  answer.version = {1, 1};
  model().AnswerWith(answer);
  model().SetWaitingFor("1 of 2 workers");
  RawCall call(channel_, kStepMethod);
  ASSERT_TRUE(call.Write(StepHeader()));
  call.WritesDone();
  ASSERT_TRUE(call.ReadAs<v1::StepResponse>()->has_accepted());
  for (int i = 0; i < 3; ++i) {
    const auto waiting = call.ReadAs<v1::StepResponse>();
    ASSERT_TRUE(waiting && waiting->has_waiting());
    EXPECT_EQ(waiting->waiting().reason(), "1 of 2 workers");
  }
  model().Publish(weights_);
  Received<v1::StepResponse> got;
  got.ReadAll(&call);
  EXPECT_EQ(Told(call.Finish()), "OK");
  EXPECT_EQ(got.header.version().counter(), 2u);
  EXPECT_TRUE(got.committed);
}

TEST_F(VersionStreamTest, StepAfterItsRoundHasClosedIsAnsweredAtOnce) {
  PushAnswer first;
  first.outcome = PushOutcome::kDuplicate;
  first.first_outcome = PushOutcome::kBuffered;
  first.version = {1, 0};  // the round that it was in made 1.1
  model().AnswerDuplicate(first);
  RawCall call(channel_, kStepMethod);
  ASSERT_TRUE(call.Write(StepHeader()));
  Received<v1::StepResponse> got;
  got.ReadAll(&call);
  EXPECT_EQ(Told(call.Finish()), "OK");
  EXPECT_EQ(got.header.version().counter(), 1u);
  EXPECT_EQ(got.waiting, 0);
}

TEST_F(VersionStreamTest, StepEndsWithItsRound) {
  PushAnswer answer;
  answer.outcome = PushOutcome::kBuffered;
  answer.version = {1, 1};
  model().AnswerWith(answer);
  RawCall call(channel_, kStepMethod);
  ASSERT_TRUE(call.Write(StepHeader()));
  call.WritesDone();
  ASSERT_TRUE(call.ReadAs<v1::StepResponse>()->has_accepted());
  ASSERT_TRUE(model().Eventually([&] { return model().waits() == 1; }));
  model().EndWaits(Error(absl::StatusCode::kAborted, "ROUND_DROPPED", "the result was not finite"));
  EXPECT_EQ(Told(call.Finish()), "ABORTED ROUND_DROPPED");
}

TEST_F(VersionStreamTest, StepChecksHowItWillReadBeforeItPushes) {
  RawCall call(channel_, kStepMethod);
  call.Write(StepHeader(1));
  EXPECT_EQ(Told(call.Finish()), "INVALID_ARGUMENT INVALID_FIELD");
  EXPECT_TRUE(model().requests().empty());
}

TEST(LeadsToLaterVersion, IsWhatThePushBecame) {
  const auto leads = [](PushOutcome outcome, PushOutcome first, RoundPolicy policy) {
    PushAnswer answer;
    answer.outcome = outcome;
    answer.first_outcome = first;
    return LeadsToLaterVersion(answer, policy);
  };
  using enum PushOutcome;
  EXPECT_FALSE(leads(kApplied, kApplied, RoundPolicy::kSync));
  EXPECT_TRUE(leads(kBuffered, kApplied, RoundPolicy::kSync));
  EXPECT_TRUE(leads(kDuplicate, kBuffered, RoundPolicy::kBuffered));
  EXPECT_FALSE(leads(kDuplicate, kApplied, RoundPolicy::kSync));
  EXPECT_TRUE(leads(kSkipped, kApplied, RoundPolicy::kSync));
  EXPECT_FALSE(leads(kSkipped, kApplied, RoundPolicy::kAsync));
  EXPECT_FALSE(leads(kDuplicate, kSkipped, RoundPolicy::kAsync));
}

TEST_F(VersionStreamTest, WatchTellsTheVersionNowAndAfterEveryChange) {
  v1::WatchVersionsRequest request;
  request.set_model("m");
  RawCall call(channel_, kWatchMethod);
  Start(call, request);
  EXPECT_EQ(call.ReadAs<v1::WatchVersionsResponse>()->version().counter(), 1u);
  for (uint64_t counter = 2; counter < 5; ++counter) {
    model().Publish(weights_);
    EXPECT_EQ(call.ReadAs<v1::WatchVersionsResponse>()->version().counter(), counter);
  }
  call.Cancel();
  EXPECT_TRUE(model().Eventually([&] { return model().waits() == 0 && model().live_pins() == 0; }));
}

TEST_F(VersionStreamTest, WatchRepeatsItselfBeforeAProxyCutsTheCall) {
  context_.waiting_interval = std::chrono::milliseconds(20);
  StartServer();
  v1::WatchVersionsRequest request;
  request.set_model("m");
  RawCall call(channel_, kWatchMethod);
  Start(call, request);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(call.ReadAs<v1::WatchVersionsResponse>()->version().counter(), 1u);
}

TEST_F(VersionStreamTest, CountsWhatWasSent) {
  {
    RawCall call(channel_, kPullMethod);
    Start(call, Pull());
    Received<v1::PullResponse>().ReadAll(&call);
  }
  ASSERT_TRUE(model().Eventually([&] { return model().live_pins() == 0; }));
  const std::string page = metrics_.Scrape();
  EXPECT_NE(page.find(R"(stepback_pulls_total{model="m",result="full"} 1)"), std::string::npos);
  EXPECT_NE(page.find(R"(stepback_sent_bytes_total{model="m",encoding="f32",transport="grpc"} 4194304)"),
            std::string::npos)
      << page.substr(page.find("stepback_sent_bytes_total"), 400);
}

}  // namespace
}  // namespace stepback

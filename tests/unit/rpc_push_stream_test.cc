#include <string>

#include "server/base/crc32c.h"
#include "server/base/errors.h"
#include "server/rpc/message.h"
#include "tests/unit/rpc_fixture.h"

namespace stepback {
namespace {

using PushStreamTest = RpcTest;

TEST_F(PushStreamTest, HandsChunksToTheUploadAndReturnsItsAnswer) {
  PushAnswer answer;
  answer.outcome = PushOutcome::kBuffered;
  answer.sequence = 1;
  answer.reason = "1 of 2 workers";
  model().AnswerWith(answer);
  RawCall call(channel_, kPushMethod);
  ASSERT_TRUE(call.Write(Header()));
  ASSERT_TRUE(call.Write(Chunk<v1::PushRequest>(0, "abcd")));
  ASSERT_TRUE(call.Write(Chunk<v1::PushRequest>(4, "efgh")));
  call.WritesDone();
  const auto response = call.ReadAs<v1::PushResponse>();
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->outcome(), v1::PUSH_OUTCOME_BUFFERED);
  EXPECT_EQ(response->reason(), "1 of 2 workers");
  EXPECT_EQ(Told(call.Finish()), "OK");
  EXPECT_EQ(model().received(), "abcdefgh");
  ASSERT_EQ(model().requests().size(), 1u);
  EXPECT_EQ(model().requests()[0].total_bytes, 8u);
}

TEST_F(PushStreamTest, ReadsNoChunkBeforeTheUploadHasItsReservation) {
  model().HoldStarts();
  RawCall call(channel_, kPushMethod);
  ASSERT_TRUE(call.Write(Header()));
  ASSERT_TRUE(call.Write(Chunk<v1::PushRequest>(0, "abcdefgh")));
  ASSERT_TRUE(model().Eventually([&] { return model().held_starts() == 1; }));
  EXPECT_EQ(model().chunks(), 0u);
  const std::string received =
      "grpc_server_msg_received_total{grpc_type=\"client_stream\",grpc_service=\"stepback.v1."
      "TrainingService\","
      "grpc_method=\"Push\"} ";
  EXPECT_NE(metrics_.Scrape().find(received + "1\n"), std::string::npos) << "the chunk was read";
  model().ReleaseStarts();
  EXPECT_TRUE(model().Eventually([&] { return model().chunks() == 1; }));
}

TEST_F(PushStreamTest, WithdrawsTheReservationWhenTheCallerGoes) {
  model().HoldStarts();
  RawCall call(channel_, kPushMethod);
  ASSERT_TRUE(call.Write(Header()));
  ASSERT_TRUE(model().Eventually([&] { return model().held_starts() == 1; }));
  call.Cancel();
  EXPECT_TRUE(model().Eventually([&] { return model().held_starts() == 0; }));
}

TEST_F(PushStreamTest, LetsTheUploadGoWhenTheCallerGoes) {
  RawCall call(channel_, kPushMethod);
  ASSERT_TRUE(call.Write(Header()));
  ASSERT_TRUE(call.Write(Chunk<v1::PushRequest>(0, "abcd")));
  ASSERT_TRUE(model().Eventually([&] { return model().chunks() == 1; }));
  EXPECT_EQ(model().live_uploads(), 1u);
  call.Cancel();
  EXPECT_TRUE(model().Eventually([&] { return model().live_uploads() == 0; }));
}

TEST_F(PushStreamTest, AnswersARepeatedPushFromItsHeader) {
  PushAnswer first;
  first.outcome = PushOutcome::kDuplicate;
  first.first_outcome = PushOutcome::kApplied;
  model().AnswerDuplicate(first);
  RawCall call(channel_, kPushMethod);
  ASSERT_TRUE(call.Write(Header()));
  const auto response = call.ReadAs<v1::PushResponse>();  // no half-close, no chunk
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->outcome(), v1::PUSH_OUTCOME_DUPLICATE);
  EXPECT_EQ(response->first_outcome(), v1::PUSH_OUTCOME_APPLIED);
  EXPECT_EQ(Told(call.Finish()), "OK");
}

TEST_F(PushStreamTest, PassesRefusalsOnWithTheirReason) {
  const absl::Status stale = Error(absl::StatusCode::kAborted, "STALE_BASE", "too old");
  model().RefuseStarts(stale);
  {
    RawCall call(channel_, kPushMethod);
    call.Write(Header());
    EXPECT_EQ(Told(call.Finish()), "ABORTED STALE_BASE");
  }
  model().RefuseStarts(absl::OkStatus());
  model().RefuseChunks(Error(absl::StatusCode::kInvalidArgument, "NONFINITE", "NaN"));
  {
    RawCall call(channel_, kPushMethod);
    call.Write(Header());
    call.Write(Chunk<v1::PushRequest>(0, "abcd"));
    EXPECT_EQ(Told(call.Finish()), "INVALID_ARGUMENT NONFINITE");
  }
  model().RefuseChunks(absl::OkStatus());
  PushAnswer refused;
  refused.refusal = stale;
  model().AnswerWith(refused);
  RawCall call(channel_, kPushMethod);
  call.Write(Header());
  call.WritesDone();
  EXPECT_EQ(Told(call.Finish()), "ABORTED STALE_BASE");
  EXPECT_TRUE(model().Eventually([&] { return model().live_uploads() == 0; }));
}

TEST_F(PushStreamTest, WantsItsHeaderFirstAndOnce) {
  {
    RawCall call(channel_, kPushMethod);
    call.WritesDone();
    EXPECT_EQ(Told(call.Finish()), "INVALID_ARGUMENT HEADER_EXPECTED");
  }
  {
    RawCall call(channel_, kPushMethod);
    call.Write(Chunk<v1::PushRequest>(0, "abcd"));
    EXPECT_EQ(Told(call.Finish()), "INVALID_ARGUMENT HEADER_EXPECTED");
  }
  {
    RawCall call(channel_, kPushMethod);
    call.Write(v1::PushRequest());
    EXPECT_EQ(Told(call.Finish()), "INVALID_ARGUMENT HEADER_EXPECTED");
  }
  {
    RawCall call(channel_, kPushMethod);
    call.Write(Header());
    call.Write(Header());
    EXPECT_EQ(Told(call.Finish()), "INVALID_ARGUMENT HEADER_REPEATED");
  }
  {
    RawCall call(channel_, kPushMethod);
    call.Write(Header());
    call.Write(v1::PushRequest());
    EXPECT_EQ(Told(call.Finish()), "INVALID_ARGUMENT CHUNK_EXPECTED");
  }
}

TEST_F(PushStreamTest, RefusesBytesThatAreNoMessage) {
  {
    RawCall call(channel_, kPushMethod);
    call.Write(std::string("\x0a\x05xx", 4));
    EXPECT_EQ(Told(call.Finish()), "INVALID_ARGUMENT MALFORMED_MESSAGE");
  }
  {
    RawCall call(channel_, kPushMethod);
    call.Write(std::string("\x0a\x02\x0a\x09", 4));  // a header that is no PushHeader
    EXPECT_EQ(Told(call.Finish()), "INVALID_ARGUMENT MALFORMED_MESSAGE");
  }
  {
    RawCall call(channel_, kPushMethod);
    v1::PushRequest header = Header();
    header.mutable_header()->set_model("unknown");
    call.Write(header);
    EXPECT_EQ(Told(call.Finish()), "NOT_FOUND MODEL_NOT_FOUND");
  }
  {
    RawCall call(channel_, kPushMethod);
    call.Write(Header());
    call.Write(Chunk<v1::PushRequest>(0, std::string((4 << 20) + 1, 'x')));
    EXPECT_EQ(Told(call.Finish()), "INVALID_ARGUMENT BAD_CHUNK");
  }
  EXPECT_EQ(model().received_bytes(), 0u);
}

TEST_F(PushStreamTest, LeavesMessagesAboveTheTransportsLimitToTheTransport) {
  RawCall call(channel_, kPushMethod);
  call.Write(Header());
  call.Write(Chunk<v1::PushRequest>(0, std::string(9 << 20, 'x')));
  const grpc::Status status = call.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  EXPECT_TRUE(model().Eventually([&] { return model().live_uploads() == 0; }));
}

TEST_F(PushStreamTest, EndsTheCallInsideItsDeadlineWhileItWaits) {
  model().HoldAnswers();
  RawCall call(channel_, kPushMethod, std::chrono::seconds(1));
  call.Write(Header());
  call.WritesDone();
  ASSERT_TRUE(model().Eventually([&] { return model().held_answers() == 1; }));
  EXPECT_EQ(call.Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(model().Eventually([&] { return model().live_uploads() == 0; }));
}

}  // namespace
}  // namespace stepback

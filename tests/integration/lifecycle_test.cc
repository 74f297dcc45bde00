// Calls that end before they are done, readers that stall, servers that drain: nothing is left behind and
// nobody waits for ever.
#include <atomic>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "server/base/errors.h"
#include "server/embed/embedded_server.h"
#include "tests/integration/eventually.h"
#include "tests/integration/test_server.h"
#include "tests/support/grpc_reason.h"
#include "tests/support/raw_call.h"

namespace stepback {
namespace {

// A gauge or counter without labels, or with `labels` in braces.
double ValueOf(TestServer& server, const std::string& series) {
  const std::string page = server.server().metrics()->Scrape();
  const size_t at = page.find("\n" + series + " ");
  return at == std::string::npos ? -1 : std::strtod(page.c_str() + at + series.size() + 2, nullptr);
}

TEST(Lifecycle, ACallCancelledInMidPushLeavesNoEffect) {
  TestServer server;
  const Floats delta(1 << 20, 0.5f);
  ASSERT_EQ(server.Create(DeltaSpec("m", {delta.size()}), Floats(delta.size(), 1.0f)), "OK");
  server.Open("m", "worker-0");
  const std::string hash = server.StateHash("m");
  {
    grpc::ClientContext context;
    v1::PushResponse response;
    const auto writer = server.training().Push(&context, &response);
    v1::PushRequest first;
    *first.mutable_header() = server.Header("m", "worker-0", 1, v1::PUSH_KIND_DELTA);
    first.mutable_header()->set_total_bytes(delta.size() * sizeof(float));
    writer->Write(first);
    writer->Write(ChunksOf<v1::PushRequest>(BytesOf(delta), 1 << 20)[0]);
    ASSERT_TRUE(Eventually([&] { return server.MessagesReceived("Push") == 2; }));
    context.TryCancel();
    EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  EXPECT_EQ(server.StateHash("m"), hash);
  // The same number again, whole: the prefix that was held does not stand in its way.
  EXPECT_EQ(server.Push(server.Header("m", "worker-0", 1, v1::PUSH_KIND_DELTA), delta).told, "OK");
  EXPECT_TRUE(server.Pull("m").floats() == Floats(delta.size(), 0.5f));
}

TEST(Lifecycle, AWorkerThatGoesInMidPushDoesNotHoldUpTheRound) {
  TestServer server;
  v1::ModelSpec spec = DeltaSpec("m", {1 << 18});
  spec.mutable_rounds()->set_quorum(1);
  ASSERT_EQ(server.Create(spec, Floats(1 << 18, 1.0f)), "OK");
  server.Open("m", "worker-0");
  const uint64_t epoch = server.Open("m", "worker-1").epoch();
  {
    grpc::ClientContext context;
    v1::PushResponse response;
    const auto writer = server.training().Push(&context, &response);
    v1::PushRequest first;
    *first.mutable_header() = server.Header("m", "worker-1", 1, v1::PUSH_KIND_DELTA);
    first.mutable_header()->set_total_bytes(4 << 18);
    writer->Write(first);
    writer->Write(ChunksOf<v1::PushRequest>(std::string(1 << 18, '\x40'), 1 << 18)[0]);
    context.TryCancel();
    writer->Finish();
  }
  auto step = std::async(std::launch::async, [&] {
    return server.Step(server.Header("m", "worker-0", 1, v1::PUSH_KIND_DELTA), Floats(1 << 18, 0.5f));
  });
  grpc::ClientContext context;
  v1::CloseSessionRequest request;
  request.set_model("m");
  request.set_client_id("worker-1");
  request.set_epoch(epoch);
  v1::CloseSessionResponse response;
  EXPECT_EQ(Told(server.training().CloseSession(&context, request, &response)), "OK");
  const StepResult done = step.get();
  EXPECT_EQ(done.pull.told, "OK");
  EXPECT_TRUE(done.pull.floats() == Floats(1 << 18, 0.5f)) << "a part of the partial push is in the weights";
}

TEST(Lifecycle, AReaderThatStallsIsToldThatItsVersionIsGone) {
  TestServer server(TestServer::DefaultConfig(), {.stalled_reader_grace = std::chrono::milliseconds(50)});
  constexpr size_t kElements = 8 << 20;
  v1::ModelSpec spec = DeltaSpec("m", {kElements});
  spec.mutable_rounds()->set_policy(v1::ROUND_POLICY_ASYNC);
  spec.set_max_live_versions(2);
  ASSERT_EQ(server.Create(spec, Floats(kElements, 1.0f)), "OK");
  server.Open("m", "worker-0");
  v1::PullRequest request;
  request.set_model("m");
  RawCall stalled(server.channel(), "/stepback.v1.TrainingService/Pull", std::chrono::seconds(60));
  stalled.Write(request);
  stalled.WritesDone();
  ASSERT_TRUE(stalled.Read().has_value());
  const Floats delta(kElements, 0.125f);
  for (uint64_t sequence = 1; sequence <= 5; ++sequence) {
    ASSERT_EQ(server.Push(server.Header("m", "worker-0", sequence, v1::PUSH_KIND_DELTA), delta).told, "OK");
  }
  while (stalled.Read()) {
  }
  const std::string told = Told(stalled.Finish());
  EXPECT_TRUE(told == "ABORTED VERSION_GONE" || told.substr(0, 9) == "CANCELLED") << told;
  EXPECT_TRUE(server.Pull("m").committed) << "the next reader is served";
}

TEST(Lifecycle, DrainingRefusesWorkAnswersWaitersAndServesReaders) {
  TestServer server;
  v1::ModelSpec spec = DeltaSpec("m", {4});
  spec.mutable_rounds()->set_quorum(2);
  ASSERT_EQ(server.Create(spec, {1, 2, 3, 4}), "OK");
  server.Open("m", "worker-0");
  server.Open("m", "worker-1");
  auto waiting = std::async(std::launch::async, [&] {
    return server.Step(server.Header("m", "worker-0", 1, v1::PUSH_KIND_DELTA), {1, 1, 1, 1});
  });
  ASSERT_TRUE(Eventually([&] { return server.MessagesReceived("Step") == 2; }));
  grpc::ClientContext context;
  v1::DrainResponse response;
  EXPECT_EQ(Told(server.admin().Drain(&context, {}, &response)), "OK");
  EXPECT_EQ(waiting.get().pull.told, "UNAVAILABLE DRAINING");
  EXPECT_EQ(server.Push(server.Header("m", "worker-1", 1, v1::PUSH_KIND_DELTA), {1, 1, 1, 1}).told,
            "UNAVAILABLE DRAINING");
  EXPECT_EQ(server.Create(DeltaSpec("late", {1}), {1}), "UNAVAILABLE DRAINING");
  EXPECT_EQ(server.Pull("m").floats(), Floats({1, 2, 3, 4}));
  EXPECT_EQ(ValueOf(server, "stepback_ready"), 0);
  EXPECT_EQ(ValueOf(server, "stepback_draining"), 1);
}

TEST(Lifecycle, ADeletedModelEndsTheCallsThatWaitForIt) {
  TestServer server;
  v1::ModelSpec spec = DeltaSpec("m", {1});
  spec.mutable_rounds()->set_quorum(2);
  ASSERT_EQ(server.Create(spec, {1}), "OK");
  server.Open("m", "worker-0");
  server.Open("m", "worker-1");
  auto step = std::async(std::launch::async, [&] {
    return server.Step(server.Header("m", "worker-0", 1, v1::PUSH_KIND_DELTA), {1});
  });
  v1::WatchVersionsRequest watch;
  watch.set_model("m");
  RawCall watching(server.channel(), "/stepback.v1.TrainingService/WatchVersions");
  watching.Write(watch);
  watching.WritesDone();
  ASSERT_TRUE(watching.Read().has_value());
  ASSERT_TRUE(Eventually([&] { return server.MessagesReceived("Step") == 2; }));
  grpc::ClientContext context;
  v1::DeleteModelRequest request;
  request.set_name("m");
  v1::DeleteModelResponse response;
  ASSERT_TRUE(server.models().DeleteModel(&context, request, &response).ok());
  EXPECT_EQ(step.get().pull.told, "NOT_FOUND MODEL_DELETED");
  EXPECT_FALSE(watching.Read().has_value());
  EXPECT_EQ(Told(watching.Finish()), "NOT_FOUND MODEL_DELETED");
}

TEST(Lifecycle, StoppingWithCallsInEveryStateEndsThemAll) {
  auto server = std::make_unique<TestServer>();
  v1::ModelSpec spec = DeltaSpec("m", {1 << 20});
  spec.mutable_rounds()->set_quorum(2);
  ASSERT_EQ(server->Create(spec, Floats(1 << 20, 1.0f)), "OK");
  server->Open("m", "worker-0");
  server->Open("m", "worker-1");
  RawCall push(server->channel(), "/stepback.v1.TrainingService/Push");
  v1::PushRequest header;
  *header.mutable_header() = server->Header("m", "worker-0", 1, v1::PUSH_KIND_DELTA);
  header.mutable_header()->set_total_bytes(4 << 20);
  push.Write(header);
  push.Write(ChunksOf<v1::PushRequest>(std::string(1 << 20, '\0'), 1 << 20)[0]);
  v1::PullRequest pull;
  pull.set_model("m");
  pull.set_wait(true);
  *pull.mutable_since() = server->Model("m").version();
  RawCall waiting(server->channel(), "/stepback.v1.TrainingService/Pull");
  waiting.Write(pull);
  ASSERT_TRUE(Eventually([&] { return server->MessagesReceived("Push") == 2; }));
  server->Stop();
  EXPECT_FALSE(push.Finish().ok());
  EXPECT_FALSE(waiting.Finish().ok());
}

TEST(Lifecycle, ManyCallsAtOnceWithRandomEnds) {
  TestServer server;
  v1::ModelSpec spec = DeltaSpec("m", {10'000});
  spec.mutable_rounds()->set_policy(v1::ROUND_POLICY_ASYNC);
  spec.mutable_rounds()->set_max_staleness(1'000'000);
  ASSERT_EQ(server.Create(spec, Floats(10'000, 1.0f)), "OK");
  std::atomic<int> applied = 0;
  std::vector<std::thread> workers;
  for (int w = 0; w < 4; ++w) {
    workers.emplace_back([&, w] {
      const std::string client = "worker-" + std::to_string(w);
      server.Open("m", client);
      for (uint64_t sequence = 1; sequence <= 25; ++sequence) {
        const v1::PushHeader header = server.Header("m", client, sequence, v1::PUSH_KIND_DELTA);
        if (sequence % 3 == 0) {  // give up somewhere, then do it again
          grpc::ClientContext context;
          v1::PushResponse response;
          const auto writer = server.training().Push(&context, &response);
          v1::PushRequest first;
          *first.mutable_header() = header;
          first.mutable_header()->set_total_bytes(40'000);
          writer->Write(first);
          if (sequence % 2 == 0)
            writer->Write(ChunksOf<v1::PushRequest>(BytesOf(Floats(10'000, 0.0f)), 8'000)[0]);
          context.TryCancel();
          writer->Finish();
        }
        const PushResult pushed = server.Push(header, Floats(10'000, 0.0f), 4'000);
        EXPECT_EQ(pushed.told, "OK") << pushed.message;
        ++applied;
        EXPECT_TRUE(server.Pull("m").committed);
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  EXPECT_EQ(server.Model("m").outer_steps(), 100u);
  EXPECT_EQ(applied, 100);
  EXPECT_TRUE(Eventually([&] { return ValueOf(server, "stepback_inflight_bytes") == 0; }));
}

TEST(Embedded, ServesAndStopsOnce) {
  auto server = StartEmbedded({});
  ASSERT_TRUE(server.ok()) << server.status();
  const auto channel = grpc::CreateChannel((*server)->address(), grpc::InsecureChannelCredentials());
  EXPECT_TRUE(CallUnary(channel, "/stepback.v1.AdminService/GetServerInfo", "").ok());
  EXPECT_EQ((*server)->http_address(), "");
  EXPECT_TRUE((*server)->Stop().ok());
  EXPECT_TRUE((*server)->Stop().ok());
  EXPECT_FALSE(CallUnary(channel, "/stepback.v1.AdminService/GetServerInfo", "").ok());
}

TEST(Embedded, TwoLiveSideBySide) {
  auto first = StartEmbedded({.http_listen = "127.0.0.1:0"});
  auto second = StartEmbedded({});
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_NE((*first)->address(), (*second)->address());
  EXPECT_NE((*first)->http_address(), "");
}

TEST(Embedded, RefusesAnAddressThatIsTaken) {
  auto first = StartEmbedded({});
  ASSERT_TRUE(first.ok());
  const auto second = StartEmbedded({.listen = (*first)->address()});
  EXPECT_EQ(ReasonOf(second.status()), "BIND_FAILED") << second.status();
}

}  // namespace
}  // namespace stepback

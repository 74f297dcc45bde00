// The main job through the wire: a client of the proto creates, pushes, pulls and steps in both modes, and
// the numbers are the closed form's, bit for bit (all values are small dyadic fractions).
#include <future>
#include <numeric>
#include <string>

#include "gtest/gtest.h"
#include "tests/integration/eventually.h"
#include "tests/integration/test_server.h"
#include "tests/support/grpc_reason.h"

namespace stepback {
namespace {

TEST(Training, ADeltaRoundSubtractsTheMeanDelta) {
  TestServer server;
  ASSERT_EQ(server.Create(DeltaSpec("m", {2, 2}), {1, 2, 3, 4}), "OK");
  EXPECT_EQ(server.Open("m", "worker-0").last_sequence(), 0u);
  const PushResult pushed =
      server.Push(server.Header("m", "worker-0", 1, v1::PUSH_KIND_DELTA), {0.5, 0.25, 0, -1});
  EXPECT_EQ(pushed.told, "OK") << pushed.message;
  EXPECT_EQ(pushed.response.outcome(), v1::PUSH_OUTCOME_APPLIED);
  EXPECT_EQ(pushed.response.version().counter(), 1u);
  EXPECT_EQ(pushed.response.outer_steps(), 1u);
  const PullResult pulled = server.Pull("m");
  EXPECT_EQ(pulled.told, "OK");
  EXPECT_TRUE(pulled.committed);
  EXPECT_EQ(pulled.floats(), Floats({0.5, 1.75, 3, 5}));
  EXPECT_EQ(pulled.header.version().counter(), 1u);
  EXPECT_EQ(pulled.header.outer_steps(), 1u);
}

TEST(Training, GradientStepsMoveTheFastWeightsAndEverySecondMergesThem) {
  TestServer server;
  ASSERT_EQ(server.Create(GradientSpec("m", {2}, 0.5, 2), {8, -8}), "OK");
  server.Open("m", "worker-0");
  const Floats gradient = {2, 4};
  const auto push = [&](uint64_t sequence) {
    return server.Push(server.Header("m", "worker-0", sequence, v1::PUSH_KIND_GRADIENT), gradient).told;
  };
  ASSERT_EQ(push(1), "OK");
  EXPECT_EQ(server.Pull("m", "train").floats(), Floats({7, -10}));
  EXPECT_EQ(server.Pull("m", "eval").floats(), Floats({8, -8}));
  ASSERT_EQ(push(2), "OK");  // theta = 6, -12; phi = 8 + (6 - 8) / 2
  EXPECT_EQ(server.Pull("m", "eval").floats(), Floats({7, -10}));
  EXPECT_EQ(server.Pull("m", "train").floats(), Floats({7, -10}));
  const v1::Model model = server.Model("m");
  EXPECT_EQ(model.inner_steps(), 2u);
  EXPECT_EQ(model.outer_steps(), 1u);
}

TEST(Training, AStepIsAPushAndThePullOfItsRound) {
  TestServer server;
  ASSERT_EQ(server.Create(DeltaSpec("m", {4}), {1, 1, 1, 1}), "OK");
  server.Open("m", "worker-0");
  Floats weights = {1, 1, 1, 1};
  for (uint64_t sequence = 1; sequence <= 5; ++sequence) {
    const StepResult step =
        server.Step(server.Header("m", "worker-0", sequence, v1::PUSH_KIND_DELTA), {0.125, 0, 0, -0.5});
    ASSERT_EQ(step.pull.told, "OK");
    EXPECT_EQ(step.accepted.sequence(), sequence);
    EXPECT_EQ(step.accepted.version().counter(), sequence);
    weights[0] -= 0.125f;
    weights[3] += 0.5f;
    ASSERT_TRUE(step.pull.committed);
    EXPECT_EQ(step.pull.floats(), weights);
    EXPECT_EQ(step.pull.header.settings().outer().name(), "nesterov");
  }
}

TEST(Training, TwoWorkersStepTogetherAndReceiveTheSameBits) {
  TestServer server;
  v1::ModelSpec spec = DeltaSpec("m", {100'000});
  spec.mutable_rounds()->set_quorum(2);
  const Floats start(100'000, 4.0f);
  ASSERT_EQ(server.Create(spec, start), "OK");
  server.Open("m", "worker-0");
  server.Open("m", "worker-1");
  Floats expected = start;
  for (uint64_t round = 1; round <= 3; ++round) {
    const Floats first(expected.size(), 0.5f), second(expected.size(), 1.5f);
    auto other = std::async(std::launch::async, [&] {
      return server.Step(server.Header("m", "worker-1", round, v1::PUSH_KIND_DELTA), second);
    });
    const StepResult mine = server.Step(server.Header("m", "worker-0", round, v1::PUSH_KIND_DELTA), first);
    const StepResult theirs = other.get();
    for (float& value : expected) value -= 1.0f;
    ASSERT_EQ(mine.pull.told, "OK");
    ASSERT_EQ(theirs.pull.told, "OK");
    EXPECT_EQ(mine.pull.header.version().counter(), round);
    EXPECT_TRUE(mine.pull.floats() == expected);
    EXPECT_TRUE(theirs.pull.data == mine.pull.data);
  }
}

TEST(Training, TheFirstWorkerOfARoundIsToldThatItIsBuffered) {
  TestServer server;
  v1::ModelSpec spec = DeltaSpec("m", {1});
  spec.mutable_rounds()->set_quorum(2);
  ASSERT_EQ(server.Create(spec, {0}), "OK");
  server.Open("m", "worker-0");
  server.Open("m", "worker-1");
  const PushResult first = server.Push(server.Header("m", "worker-0", 1, v1::PUSH_KIND_DELTA), {2});
  EXPECT_EQ(first.response.outcome(), v1::PUSH_OUTCOME_BUFFERED);
  EXPECT_EQ(first.response.version().counter(), 0u);
  EXPECT_NE(first.response.reason().find("1 of 2"), std::string::npos) << first.response.reason();
  const PushResult second = server.Push(server.Header("m", "worker-1", 1, v1::PUSH_KIND_DELTA), {4});
  EXPECT_EQ(second.response.outcome(), v1::PUSH_OUTCOME_APPLIED);
  EXPECT_EQ(server.Pull("m").floats(), Floats({-3}));
}

TEST(Training, AWaitingStepSaysWhomItWaitsFor) {
  TestServer server(TestServer::DefaultConfig(), {.waiting_interval = std::chrono::milliseconds(30)});
  v1::ModelSpec spec = DeltaSpec("m", {1});
  spec.mutable_rounds()->set_quorum(2);
  ASSERT_EQ(server.Create(spec, {0}), "OK");
  server.Open("m", "worker-0");
  server.Open("m", "worker-1");
  grpc::ClientContext context;
  const auto stream = server.training().Step(&context);
  v1::StepRequest header;
  *header.mutable_header()->mutable_push() = server.Header("m", "worker-0", 1, v1::PUSH_KIND_DELTA);
  header.mutable_header()->mutable_push()->set_total_bytes(4);
  ASSERT_TRUE(stream->Write(header));
  ASSERT_TRUE(stream->Write(ChunksOf<v1::StepRequest>(BytesOf({2}), 4)[0]));
  stream->WritesDone();
  v1::StepResponse message;
  ASSERT_TRUE(stream->Read(&message) && message.has_accepted());
  ASSERT_TRUE(stream->Read(&message) && message.has_waiting());
  EXPECT_NE(message.waiting().reason().find("worker-1"), std::string::npos) << message.waiting().reason();
  ASSERT_EQ(server.Push(server.Header("m", "worker-1", 1, v1::PUSH_KIND_DELTA), {4}).told, "OK");
  bool committed = false;
  while (stream->Read(&message)) committed = committed || message.has_commit();
  EXPECT_TRUE(committed);
  EXPECT_EQ(Told(stream->Finish()), "OK");
}

TEST(Training, ARepeatedPushHasOneEffectAndTheFirstAnswer) {
  TestServer server;
  ASSERT_EQ(server.Create(DeltaSpec("m", {1}), {10}), "OK");
  server.Open("m", "worker-0");
  const v1::PushHeader header = server.Header("m", "worker-0", 1, v1::PUSH_KIND_DELTA);
  ASSERT_EQ(server.Push(header, {1}).told, "OK");
  const std::string hash = server.StateHash("m");
  for (int i = 0; i < 3; ++i) {
    const PushResult again = server.Push(header, {1});
    EXPECT_EQ(again.told, "OK");
    EXPECT_EQ(again.response.outcome(), v1::PUSH_OUTCOME_DUPLICATE);
    EXPECT_EQ(again.response.first_outcome(), v1::PUSH_OUTCOME_APPLIED);
    EXPECT_EQ(again.response.version().counter(), 1u);
  }
  const StepResult step = server.Step(header, {1});
  EXPECT_EQ(step.pull.told, "OK");
  EXPECT_EQ(step.pull.floats(), Floats({9}));
  EXPECT_EQ(server.StateHash("m"), hash);
}

TEST(Training, AnUploadResumesWhereItsConnectionBroke) {
  TestServer server;
  const Floats delta(1 << 20, 0.5f);  // 4 MiB
  ASSERT_EQ(server.Create(DeltaSpec("m", {delta.size()}), Floats(delta.size(), 1.0f)), "OK");
  server.Open("m", "worker-0");
  v1::PushHeader header = server.Header("m", "worker-0", 1, v1::PUSH_KIND_DELTA);
  header.set_total_bytes(delta.size() * sizeof(float));
  const auto chunks = ChunksOf<v1::PushRequest>(BytesOf(delta), 1 << 20);
  {
    grpc::ClientContext context;
    v1::PushResponse response;
    const auto writer = server.training().Push(&context, &response);
    v1::PushRequest first;
    *first.mutable_header() = header;
    writer->Write(first);
    for (int i = 0; i < 3; ++i) writer->Write(chunks[i]);
    ASSERT_TRUE(Eventually([&] { return server.MessagesReceived("Push") == 4; }));
    context.TryCancel();
    EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  v1::OpenSessionResponse reopened;
  ASSERT_TRUE(Eventually([&] {
    reopened = server.Open("m", "worker-0");
    return reopened.partial_uploads_size() == 1;
  }));
  EXPECT_EQ(reopened.partial_uploads(0).sequence(), 1u);
  const uint64_t held = reopened.partial_uploads(0).bytes_received();
  EXPECT_GE(held, 2u << 20);
  EXPECT_LE(held, 3u << 20);
  header.set_epoch(reopened.epoch());
  header.set_resume_offset(held);
  const PushResult pushed = server.PushBytes(header, BytesOf(delta).substr(held));
  EXPECT_EQ(pushed.told, "OK") << pushed.message;
  EXPECT_TRUE(server.Pull("m").floats() == Floats(delta.size(), 0.5f));
}

TEST(Training, TwoRanksPushTheirPartsOfOnePush) {
  TestServer server;
  ASSERT_EQ(server.Create(DeltaSpec("m", {6, 4}), Floats(10, 1.0f)), "OK");
  server.Open("m", "worker-0");
  const auto part = [&](uint32_t index, uint64_t begin, uint64_t count) {
    v1::PushHeader header = server.Header("m", "worker-0", 1, v1::PUSH_KIND_DELTA);
    header.set_part(index);
    header.set_part_count(2);
    header.add_ranges()->set_begin(begin);
    header.mutable_ranges(0)->set_count(count);
    return server.Push(header, Floats(count, 0.25f * static_cast<float>(index + 1)));
  };
  auto first = std::async(std::launch::async, [&] { return part(0, 0, 7); });
  const PushResult second = part(1, 7, 3);
  EXPECT_EQ(first.get().told, "OK");
  EXPECT_EQ(second.told, "OK") << second.message;
  EXPECT_EQ(second.response.version().counter(), 1u);
  EXPECT_EQ(server.Pull("m").floats(), Floats({.75, .75, .75, .75, .75, .75, .75, .5, .5, .5}));
}

TEST(Training, PullsRangesAndCodecs) {
  TestServer server;
  Floats weights(1000);
  std::iota(weights.begin(), weights.end(), 0.0f);
  ASSERT_EQ(server.Create(DeltaSpec("m", {600, 400}), weights), "OK");
  v1::PullRequest request;
  request.set_model("m");
  request.add_ranges()->set_begin(590);
  request.mutable_ranges(0)->set_count(20);
  EXPECT_EQ(server.Pull(request).floats(), Floats(weights.begin() + 590, weights.begin() + 610));
  request.clear_ranges();
  request.set_codec("bf16");
  const PullResult half = server.Pull(request);
  ASSERT_EQ(half.told, "OK");
  ASSERT_EQ(half.data.size(), 2000u);
  EXPECT_EQ(half.header.codec(), "bf16");
  EXPECT_EQ(half.data.substr(2 * 2, 2), std::string("\x00\x40", 2)) << "2.0 in bfloat16";
}

TEST(Training, CreatingTheSameModelTwiceIsTheSameModel) {
  TestServer server;
  bool created = false;
  ASSERT_EQ(server.Create(DeltaSpec("m", {1}), {1}, &created), "OK");
  EXPECT_TRUE(created);
  ASSERT_EQ(server.Create(DeltaSpec("m", {1}), {99}, &created), "OK");
  EXPECT_FALSE(created);
  EXPECT_EQ(server.Pull("m").floats(), Floats({1})) << "the first creator's weights";
  EXPECT_EQ(server.Create(DeltaSpec("m", {1}, 0.5), {1}), "ALREADY_EXISTS MODEL_EXISTS");
}

TEST(Training, ListsModelsPageByPage) {
  TestServer server;
  for (const char* name : {"b", "a", "d", "c", "e"})
    ASSERT_EQ(server.Create(DeltaSpec(name, {1}), {0}), "OK");
  std::string names, token;
  int pages = 0;
  do {
    grpc::ClientContext context;
    v1::ListModelsRequest request;
    request.set_page_size(2);
    request.set_page_token(token);
    v1::ListModelsResponse response;
    ASSERT_TRUE(server.models().ListModels(&context, request, &response).ok());
    for (const v1::Model& model : response.models()) names += model.spec().name();
    token = response.next_page_token();
    ++pages;
  } while (!token.empty());
  EXPECT_EQ(names, "abcde");
  EXPECT_EQ(pages, 3);
}

TEST(Training, SettingsChangeLiveAndReachTheNextReply) {
  TestServer server;
  ASSERT_EQ(server.Create(DeltaSpec("m", {1}), {8}), "OK");
  server.Open("m", "worker-0");
  v1::UpdateModelRequest request;
  request.set_name("m");
  (*request.mutable_values())["outer.lr"] = 0.5;
  request.set_expected_settings_version(1);
  v1::UpdateModelResponse response;
  {
    grpc::ClientContext context;
    const grpc::Status status = server.models().UpdateModel(&context, request, &response);
    ASSERT_TRUE(status.ok()) << Told(status) << status.error_message();
    EXPECT_EQ(response.model().settings_version(), 2u);
    EXPECT_EQ(response.effective_version().counter(), 1u);
  }
  {
    grpc::ClientContext context;
    EXPECT_EQ(Told(server.models().UpdateModel(&context, request, &response)), "ABORTED SETTINGS_CONFLICT");
  }
  const StepResult step = server.Step(server.Header("m", "worker-0", 1, v1::PUSH_KIND_DELTA), {4});
  EXPECT_EQ(step.pull.floats(), Floats({6}));
  EXPECT_EQ(step.pull.header.settings().settings_version(), 2u);
  EXPECT_EQ(step.pull.header.settings().outer().values().at("lr"), 0.5);
}

TEST(Training, WhatIsExportedCanBeImported) {
  TestServer server;
  const Floats weights = {1, 2, 3, 4, 5, 6};
  ASSERT_EQ(server.Create(DeltaSpec("m", {2, 4}), weights), "OK");
  std::string file;
  {
    grpc::ClientContext context;
    v1::ExportModelRequest request;
    request.set_model("m");
    const auto reader = server.models().ExportModel(&context, request);
    v1::ExportModelResponse response;
    while (reader->Read(&response)) file += response.chunk().data();
    ASSERT_TRUE(reader->Finish().ok());
  }
  server.Open("m", "worker-0");
  ASSERT_EQ(server.Push(server.Header("m", "worker-0", 1, v1::PUSH_KIND_DELTA), Floats(6, 9.0f)).told, "OK");
  grpc::ClientContext context;
  v1::ImportModelResponse response;
  const auto writer = server.models().ImportModel(&context, &response);
  v1::ImportModelRequest header;
  header.mutable_header()->set_model("m");
  header.mutable_header()->set_total_bytes(file.size());
  writer->Write(header);
  for (const auto& chunk : ChunksOf<v1::ImportModelRequest>(file, 64)) writer->Write(chunk);
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  ASSERT_TRUE(status.ok()) << Told(status) << status.error_message();
  EXPECT_EQ(response.model().version().counter(), 2u);
  EXPECT_EQ(server.Pull("m").floats(), weights);
}

TEST(Training, OperatorsSeeSessionsAndEndThem) {
  TestServer server;
  ASSERT_EQ(server.Create(DeltaSpec("m", {1}), {0}), "OK");
  server.Open("m", "worker-0");
  {
    grpc::ClientContext context;
    v1::ListSessionsResponse response;
    ASSERT_TRUE(server.admin().ListSessions(&context, {}, &response).ok());
    ASSERT_EQ(response.sessions_size(), 1);
    EXPECT_EQ(response.sessions(0).client_id(), "worker-0");
    EXPECT_GT(response.sessions(0).lease_remaining_seconds(), 0);
  }
  grpc::ClientContext context;
  v1::EvictSessionRequest request;
  request.set_model("m");
  request.set_client_id("worker-0");
  v1::EvictSessionResponse response;
  ASSERT_TRUE(server.admin().EvictSession(&context, request, &response).ok());
  EXPECT_EQ(server.Push(server.Header("m", "worker-0", 1, v1::PUSH_KIND_DELTA), {1}).told,
            "FAILED_PRECONDITION FENCED");
}

TEST(Training, TheServerSaysWhatItIs) {
  TestServer server;
  grpc::ClientContext context;
  v1::GetServerInfoResponse info;
  ASSERT_TRUE(server.admin().GetServerInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.protocol_version(), 1u);
  EXPECT_FALSE(info.version().empty());
  ASSERT_EQ(info.devices_size(), 1);
  EXPECT_EQ(info.devices(0).substr(0, 4), "cpu/");
  EXPECT_EQ(info.compute_threads(), 2u);
}

}  // namespace
}  // namespace stepback

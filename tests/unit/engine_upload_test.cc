// Uploads that go wrong, are cut, come in parts, or find no room. Whatever happens before a push is decided
// leaves the state hash as it was.
#include <gtest/gtest.h>

#include <limits>

#include "tests/unit/engine_fixture.h"

namespace stepback {
namespace {

using absl::StatusCode;
using std::chrono::seconds;

class EngineUpload : public testing::Test {
 protected:
  static constexpr size_t kElements = 20'000;  // 80,000 bytes

  EngineUpload() { Create(DeltaSpec("lm", {kElements - 77, 77})); }

  void Create(const ModelSpec& spec) {
    model_ = server_.Create(spec, Constant(kElements, 5));
    worker_ = std::make_unique<Worker>(model_, "w");
    hash_ = HashOf(model_.get());
  }

  std::shared_ptr<Upload> Begin(const UploadRequest& request) {
    absl::StatusOr<UploadStart> start = StartUpload(model_.get(), request);
    EXPECT_TRUE(start.ok()) << start.status();
    return start.ok() ? start->upload : nullptr;
  }
  absl::StatusOr<PushAnswer> Finish(Upload* upload) {
    return Await<PushAnswer>([&](Done<PushAnswer> done) { upload->Finish(done); });
  }
  absl::Status AddOne(Upload* upload, uint64_t offset, size_t size) {
    const std::vector<std::byte> chunk(bytes_.begin() + offset, bytes_.begin() + offset + size);
    return upload->AddChunk(offset, Crc32c(chunk.data(), size), PayloadOf(chunk));
  }
  UploadRequest Request() { return worker_->Next(bytes_.size()); }
  // The same push again.
  UploadRequest Resume(uint64_t offset) {
    worker_->set_sequence(worker_->sequence() - 1);
    UploadRequest request = Request();
    request.resume_offset = offset;
    return request;
  }

  EngineFixture server_;
  std::shared_ptr<Handle> model_;
  std::unique_ptr<Worker> worker_;
  std::string hash_;
  const std::vector<std::byte> bytes_ = BytesOfFloats(Constant(kElements, 1));
};

TEST_F(EngineUpload, HeadersThatDoNotFitTheModelAreRefused) {
  const UploadRequest good = Request();
  struct Case {
    const char* reason;
    std::function<void(UploadRequest*)> change;
    StatusCode code = StatusCode::kInvalidArgument;
  };
  const std::vector<Case> cases = {
      {"SIZE_MISMATCH", [](UploadRequest* r) { r->total_bytes -= 4; }},
      {"SIZE_MISMATCH", [](UploadRequest* r) { r->total_bytes = UINT64_MAX; }},
      {"SIZE_MISMATCH", [](UploadRequest* r) { r->total_bytes = uint64_t{1} << 63; }},
      {"KIND_NOT_ACCEPTED", [](UploadRequest* r) { r->header.kind = PushKind::kGradient; }},
      {"KIND_NOT_ACCEPTED", [](UploadRequest* r) { r->header.kind = PushKind::kWeights; }},
      {"CODEC_UNKNOWN", [](UploadRequest* r) { r->header.codec = 1000; }},
      {"CODEC_UNKNOWN", [](UploadRequest* r) { r->header.codec = -1; }},
      {"SEQUENCE_INVALID", [](UploadRequest* r) { r->header.sequence = 0; }},
      {"SAMPLES_INVALID", [](UploadRequest* r) { r->header.samples = UINT64_MAX; }},
      {"LOSS_SCALE_INVALID", [](UploadRequest* r) { r->header.loss_scale = 0.5; }},
      {"LOSS_SCALE_INVALID",
       [](UploadRequest* r) { r->header.loss_scale = std::numeric_limits<double>::infinity(); }},
      {"LOSS_SCALE_INVALID",
       [](UploadRequest* r) { r->header.loss_scale = std::numeric_limits<double>::quiet_NaN(); }},
      {"LAYOUT_MISMATCH",
       [](UploadRequest* r) {
         r->header.present = {1, 0};
       }},
      {"LAYOUT_MISMATCH", [](UploadRequest* r) { r->header.present = {255}; }},
      {"LAYOUT_MISMATCH",
       [](UploadRequest* r) {
         r->ranges = {{0, kElements + 1}};
       }},
      {"LAYOUT_MISMATCH",
       [](UploadRequest* r) {
         r->ranges = {{UINT64_MAX, 2}};
       }},
      {"LAYOUT_MISMATCH",
       [](UploadRequest* r) {
         r->ranges = {{10, 10}, {5, 10}};
       }},
      {"PART_INVALID", [](UploadRequest* r) { r->part = 1; }},
      {"PART_INVALID", [](UploadRequest* r) { r->part_count = 0; }},
      {"PART_INVALID", [](UploadRequest* r) { r->part_count = UINT32_MAX; }},
      {"BAD_OFFSET", [](UploadRequest* r) { r->resume_offset = 8; }},
      {"BAD_OFFSET", [](UploadRequest* r) { r->resume_offset = UINT64_MAX; }},
      {"PART_MISMATCH",
       [](UploadRequest* r) {
         r->ranges = {{0, 100}};
         r->total_bytes = 400;
       }},
      {"FINGERPRINT_MISMATCH", [](UploadRequest* r) { r->fingerprint = std::string(32, 'x'); },
       StatusCode::kFailedPrecondition},
      {"FINGERPRINT_MISMATCH", [](UploadRequest* r) { r->fingerprint = "short"; },
       StatusCode::kFailedPrecondition},
      {"SEQUENCE_GAP", [](UploadRequest* r) { r->header.sequence += 6; }, StatusCode::kFailedPrecondition},
      {"SEQUENCE_GAP", [](UploadRequest* r) { r->header.sequence = UINT64_MAX; },
       StatusCode::kFailedPrecondition},
  };
  for (const Case& c : cases) {
    UploadRequest request = good;
    c.change(&request);
    EXPECT_THAT(StartUpload(model_.get(), request).status(), Refused(c.code, c.reason));
  }
  EXPECT_EQ(HashOf(model_.get()), hash_);
  EXPECT_EQ(server_.pool.stats().failure_count, 0u) << "nothing was allocated from a number that lies";
  UploadRequest request = good;
  const auto& fingerprint = model_->layout()->fingerprint();
  request.fingerprint = std::string(fingerprint.begin(), fingerprint.end());
  ASSERT_TRUE(worker_->Send(request, bytes_).ok());
}

TEST_F(EngineUpload, BadChunksEndTheUploadAndChangeNothing) {
  const auto expect_refused = [&](const char* reason, const std::function<absl::Status(Upload*)>& add) {
    const auto upload = Begin(Request());
    ASSERT_TRUE(AddOne(upload.get(), 0, 8000).ok());
    EXPECT_THAT(add(upload.get()), Refused(StatusCode::kInvalidArgument, reason));
    EXPECT_THAT(AddOne(upload.get(), 8000, 8000), Refused(StatusCode::kInvalidArgument, reason))
        << "it has ended";
    EXPECT_THAT(Finish(upload.get()).status(), Refused(StatusCode::kInvalidArgument, reason));
    EXPECT_EQ(HashOf(model_.get()), hash_);
    worker_->set_sequence(worker_->sequence() - 1);
  };
  const Payload eight = PayloadOf(std::vector<std::byte>(8));
  expect_refused("BAD_CRC", [&](Upload* u) { return u->AddChunk(8000, 0xdeadbeef, eight); });
  expect_refused("BAD_OFFSET", [&](Upload* u) { return AddOne(u, 16000, 8); });
  expect_refused("BAD_OFFSET", [&](Upload* u) { return AddOne(u, 0, 8); });
  expect_refused("BAD_CHUNK", [&](Upload* u) { return u->AddChunk(8000, 0, Payload()); });
  expect_refused("TOO_MANY_BYTES", [&](Upload* u) {
    const std::vector<std::byte> chunk(bytes_.size());
    return u->AddChunk(8000, Crc32c(chunk.data(), chunk.size()), PayloadOf(chunk));
  });
  ASSERT_TRUE(worker_->Send(Request(), bytes_).ok()) << "the number is still free";
}

TEST_F(EngineUpload, MissingChunksAndChunksAfterTheEndAreRefused) {
  const auto upload = Begin(Request());
  ASSERT_TRUE(AddOne(upload.get(), 0, 72000).ok());
  EXPECT_THAT(Finish(upload.get()).status(), Refused(StatusCode::kInvalidArgument, "SIZE_MISMATCH"));
  EXPECT_EQ(HashOf(model_.get()), hash_);

  const auto again = Begin(Resume(0));
  ASSERT_TRUE(AddAll(again.get(), bytes_).ok());
  const Payload eight = PayloadOf(std::vector<std::byte>(8));
  const uint32_t crc = Crc32c(eight.view());
  EXPECT_THAT(again->AddChunk(bytes_.size(), crc, eight),
              Refused(StatusCode::kInvalidArgument, "TOO_MANY_BYTES"));
  EXPECT_FALSE(Finish(again.get()).ok());
  EXPECT_EQ(HashOf(model_.get()), hash_);

  const auto whole = Begin(Resume(0));
  ASSERT_TRUE(AddAll(whole.get(), bytes_).ok());
  ASSERT_TRUE(Finish(whole.get()).ok());
  EXPECT_THAT(whole->AddChunk(bytes_.size(), crc, eight),
              Refused(StatusCode::kInvalidArgument, "TOO_MANY_BYTES"));
}

TEST_F(EngineUpload, APushAfterDeleteIsNotFound) {
  const UploadRequest request = Request();
  const auto upload = Begin(request);
  ASSERT_TRUE(AddOne(upload.get(), 0, 40000).ok());
  ASSERT_TRUE(AwaitStatus([&](auto done) { server_.engine->Delete("lm", done); }).ok());
  EXPECT_THAT(AddOne(upload.get(), 40000, 40000), Refused(StatusCode::kNotFound, "MODEL_DELETED"));
  EXPECT_THAT(Finish(upload.get()).status(), Refused(StatusCode::kNotFound, "MODEL_DELETED"));
  EXPECT_THAT(StartUpload(model_.get(), request).status(), Refused(StatusCode::kNotFound, "MODEL_DELETED"));
}

TEST_F(EngineUpload, ADroppedUploadIsResumedWhereItStopped) {
  auto upload = Begin(Request());
  ASSERT_TRUE(AddOne(upload.get(), 0, 48000).ok());
  EXPECT_FALSE(upload->AddChunk(48000, 1, PayloadOf(std::vector<std::byte>(8))).ok());
  upload.reset();  // the stream dies
  const absl::StatusOr<SessionOpened> opened = worker_->Open();
  ASSERT_TRUE(opened.ok());
  ASSERT_EQ(opened->partial_uploads.size(), 1u);
  EXPECT_EQ(opened->partial_uploads[0].sequence, 1u);
  EXPECT_EQ(opened->partial_uploads[0].part, 0u);
  EXPECT_EQ(opened->partial_uploads[0].bytes_received, 48000u) << "the verified prefix";
  worker_->set_sequence(1);
  EXPECT_THAT(StartUpload(model_.get(), Resume(40000)).status(),
              Refused(StatusCode::kInvalidArgument, "BAD_OFFSET"));
  const auto resumed = Begin(Resume(48000));
  EXPECT_EQ(resumed->bytes_received(), 48000u);
  ASSERT_TRUE(AddAll(resumed.get(), bytes_, 48000).ok());
  ASSERT_TRUE(Finish(resumed.get()).ok());
  EXPECT_EQ(Weights(model_.get()), Constant(kElements, 4));
}

TEST_F(EngineUpload, AReconnectTakesOverFromAStreamThatDoesNotKnowItIsDead) {
  const auto zombie = Begin(Request());
  ASSERT_TRUE(AddOne(zombie.get(), 0, 48000).ok());
  const auto resumed = Begin(Resume(48000));
  EXPECT_THAT(AddOne(zombie.get(), 48000, 8000), Refused(StatusCode::kAborted, "UPLOAD_REPLACED"));
  ASSERT_TRUE(AddAll(resumed.get(), bytes_, 48000).ok());
  ASSERT_TRUE(Finish(resumed.get()).ok());
  EXPECT_EQ(Weights(model_.get()), Constant(kElements, 4));
}

TEST_F(EngineUpload, ANewSessionFencesTheUploadsOfTheOldOne) {
  const auto old = Begin(Request());
  ASSERT_TRUE(AddOne(old.get(), 0, 48000).ok());
  ASSERT_TRUE(worker_->Open().ok());
  EXPECT_THAT(AddOne(old.get(), 48000, 8000), Refused(StatusCode::kFailedPrecondition, "FENCED"));
  EXPECT_THAT(Finish(old.get()).status(), Refused(StatusCode::kFailedPrecondition, "FENCED"));
  EXPECT_EQ(HashOf(model_.get()), hash_);
}

TEST_F(EngineUpload, AnotherPushUnderTheSameNumberReplacesThePartialOne) {
  auto upload = Begin(Request());
  ASSERT_TRUE(AddOne(upload.get(), 0, 48000).ok());
  upload.reset();
  UploadRequest other = Resume(0);
  other.header.samples = 17;
  EXPECT_TRUE(worker_->Send(other, BytesOfFloats(Constant(kElements, 2))).ok());
  EXPECT_EQ(Weights(model_.get()), Constant(kElements, 3));
}

TEST_F(EngineUpload, APartialUploadIsForgottenAfterALease) {
  auto upload = Begin(Request());
  ASSERT_TRUE(AddOne(upload.get(), 0, 48000).ok());
  const uint64_t held = server_.pool.stats().in_use_bytes;
  upload.reset();
  for (int i = 0; i < 3; ++i) {
    server_.Advance(model_.get(), seconds(25));
    ASSERT_TRUE(
        Await<HeartbeatAnswer>([&](auto done) { model_->Heartbeat("w", worker_->epoch(), {}, done); }).ok());
  }
  server_.Quiesce(model_.get());
  EXPECT_LT(server_.pool.stats().in_use_bytes, held);
  EXPECT_THAT(StartUpload(model_.get(), Resume(48000)).status(),
              Refused(StatusCode::kInvalidArgument, "BAD_OFFSET"));
  EXPECT_TRUE(worker_->Send(Resume(0), bytes_).ok());
}

// --- several ranks ---

class EngineParts : public EngineUpload {
 protected:
  UploadRequest Part(uint32_t part, uint64_t begin, uint64_t count) {
    UploadRequest request = push_;
    request.part = part;
    request.part_count = 2;
    request.ranges = {{begin, count}};
    request.total_bytes = count * sizeof(float);
    return request;
  }
  static std::vector<std::byte> Ones(uint64_t count, float value = 1) {
    return BytesOfFloats(Constant(count, value));
  }

  UploadRequest push_ = Request();
};

TEST_F(EngineParts, TwoRanksMakeOnePush) {
  const auto first = Begin(Part(0, 0, 12'345));
  const auto second = Begin(Part(1, 12'345, kElements - 12'345));
  ASSERT_TRUE(AddAll(second.get(), Ones(kElements - 12'345, 2)).ok());
  Later<PushAnswer> second_answer;
  second->Finish(second_answer.done());
  server_.Quiesce(model_.get());
  EXPECT_FALSE(second_answer.ready());
  EXPECT_EQ(HashOf(model_.get()), hash_);
  ASSERT_TRUE(AddAll(first.get(), Ones(12'345)).ok());
  const absl::StatusOr<PushAnswer> answer = Finish(first.get());
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(second_answer.Get()->version, answer->version) << "every rank hears the same";
  std::vector<float> expected = Constant(12'345, 4);
  expected.insert(expected.end(), kElements - 12'345, 3);
  EXPECT_EQ(Weights(model_.get()), expected);
}

TEST_F(EngineParts, TwoRanksEqualOne) {
  const auto first = Begin(Part(0, 0, 9'999));
  const auto second = Begin(Part(1, 9'999, kElements - 9'999));
  const std::vector<std::byte> bytes = BytesOfFloats(Ramp(kElements));
  const std::vector<std::byte> front(bytes.begin(), bytes.begin() + 4 * 9'999),
      back(bytes.begin() + 4 * 9'999, bytes.end());
  Later<PushAnswer> ignored;
  ASSERT_TRUE(AddAll(first.get(), front).ok());
  first->Finish(ignored.done());
  ASSERT_TRUE(AddAll(second.get(), back).ok());
  ASSERT_TRUE(Finish(second.get()).ok());

  const auto other = server_.Create(DeltaSpec("other", {kElements - 77, 77}), Constant(kElements, 5));
  Worker alone(other, "w");
  ASSERT_TRUE(alone.Send(alone.Next(bytes.size()), bytes).ok());
  EXPECT_EQ(HashOf(model_.get()), HashOf(other.get()));
}

TEST_F(EngineParts, ARankThatDiesBetweenItsPartsChangesNothing) {
  const auto first = Begin(Part(0, 0, 10'000));
  ASSERT_TRUE(AddAll(first.get(), Ones(10'000)).ok());
  Later<PushAnswer> first_answer;
  first->Finish(first_answer.done());
  auto second = Begin(Part(1, 10'000, 10'000));
  ASSERT_TRUE(AddOne(second.get(), 0, 8000).ok());
  second.reset();
  server_.Quiesce(model_.get());
  EXPECT_EQ(HashOf(model_.get()), hash_);
  EXPECT_FALSE(first_answer.ready());

  UploadRequest rest = Part(1, 10'000, 10'000);
  rest.resume_offset = 8000;
  const auto back = Begin(rest);
  ASSERT_TRUE(AddAll(back.get(), Ones(10'000), 8000).ok());
  ASSERT_TRUE(Finish(back.get()).ok());
  EXPECT_TRUE(first_answer.Get().ok());
  EXPECT_EQ(Weights(model_.get()), Constant(kElements, 4));
}

TEST_F(EngineParts, ARankThatNeverComesBackEndsThePushOfTheOthers) {
  const auto first = Begin(Part(0, 0, 10'000));
  ASSERT_TRUE(AddAll(first.get(), Ones(10'000)).ok());
  Later<PushAnswer> answer;
  first->Finish(answer.done());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(
        Await<HeartbeatAnswer>([&](auto done) { model_->Heartbeat("w", worker_->epoch(), {}, done); }).ok());
    server_.Advance(model_.get(), seconds(25));
  }
  EXPECT_THAT(answer.Get().status(), Refused(StatusCode::kAborted, "UPLOAD_EXPIRED"));
  EXPECT_EQ(HashOf(model_.get()), hash_);
  ASSERT_TRUE(worker_->Send(Resume(0), bytes_).ok()) << "its room and its number are free";
}

TEST_F(EngineParts, PartsThatDoNotTileThePushAreRefusedToEveryRank) {
  const auto first = Begin(Part(0, 0, 10'000));
  const auto second = Begin(Part(1, 9'000, 10'000));
  ASSERT_TRUE(AddAll(first.get(), Ones(10'000)).ok());
  ASSERT_TRUE(AddAll(second.get(), Ones(10'000)).ok());
  Later<PushAnswer> answer;
  first->Finish(answer.done());
  EXPECT_THAT(Finish(second.get()).status(), Refused(StatusCode::kInvalidArgument, "PART_MISMATCH"));
  EXPECT_THAT(answer.Get().status(), Refused(StatusCode::kInvalidArgument, "PART_MISMATCH"));
  EXPECT_EQ(HashOf(model_.get()), hash_);
  ASSERT_TRUE(worker_->Send(Resume(0), bytes_).ok());
}

TEST_F(EngineParts, PartsThatAnnounceMoreThanThePushAreRefused) {
  const auto first = Begin(Part(0, 0, 15'000));
  EXPECT_THAT(StartUpload(model_.get(), Part(1, 5'000, 15'000)).status(),
              Refused(StatusCode::kInvalidArgument, "PART_MISMATCH"));
}

TEST_F(EngineParts, PartsOfDifferentPushesUnderOneNumberAreRefused) {
  const auto first = Begin(Part(0, 0, 10'000));
  UploadRequest other = Part(1, 10'000, 10'000);
  other.header.samples = 99;
  EXPECT_THAT(StartUpload(model_.get(), other).status(),
              Refused(StatusCode::kInvalidArgument, "PART_MISMATCH"));
}

TEST_F(EngineParts, AfterANewSessionEveryRankMustComeBackBeforeThePushCounts) {
  const auto first = Begin(Part(0, 0, 10'000));
  ASSERT_TRUE(AddAll(first.get(), Ones(10'000)).ok());
  Later<PushAnswer> fenced;
  first->Finish(fenced.done());
  server_.Quiesce(model_.get());
  absl::StatusOr<SessionOpened> opened = worker_->Open();
  ASSERT_TRUE(opened.ok());
  EXPECT_THAT(fenced.Get().status(), Refused(StatusCode::kFailedPrecondition, "FENCED"));
  ASSERT_EQ(opened->partial_uploads.size(), 1u);
  EXPECT_EQ(opened->partial_uploads[0].bytes_received, 40'000u);

  push_.header.epoch = worker_->epoch();
  const auto second = Begin(Part(1, 10'000, 10'000));
  ASSERT_TRUE(AddAll(second.get(), Ones(10'000)).ok());
  Later<PushAnswer> second_answer;
  second->Finish(second_answer.done());
  server_.Quiesce(model_.get());
  EXPECT_FALSE(second_answer.ready()) << "the old part may be of a run that was lost";
  UploadRequest confirmed = Part(0, 0, 10'000);
  confirmed.resume_offset = 40'000;
  const auto back = Begin(confirmed);
  ASSERT_TRUE(Finish(back.get()).ok());
  EXPECT_TRUE(second_answer.Get().ok());
  EXPECT_EQ(Weights(model_.get()), Constant(kElements, 4));
}

// --- room ---

class EngineRoom : public EngineUpload {
 protected:
  EngineRoom() {
    ModelSpec spec = DeltaSpec("tight", {kElements - 77, 77});
    spec.staging_bytes = kElements * sizeof(float);  // one push
    spec.rounds.policy = RoundPolicy::kAsync;
    Create(spec);
    other_ = std::make_unique<Worker>(model_, "v");
  }
  std::unique_ptr<Worker> other_;
};

TEST_F(EngineRoom, APushWaitsForRoomAndGetsItWhenTheOneBeforeIsDecided) {
  const auto first = Begin(Request());
  Later<UploadStart> waiting;
  const auto cancel = model_->StartUpload(other_->Next(bytes_.size()), waiting.done());
  ASSERT_TRUE(AddAll(first.get(), bytes_).ok());
  EXPECT_FALSE(waiting.ready());
  ASSERT_TRUE(Finish(first.get()).ok());
  const absl::StatusOr<UploadStart> second = waiting.Get();
  ASSERT_TRUE(second.ok()) << second.status();
  ASSERT_TRUE(AddAll(second->upload.get(), bytes_).ok());
  ASSERT_TRUE(Finish(second->upload.get()).ok());
  EXPECT_EQ(Weights(model_.get()), Constant(kElements, 3));
}

TEST_F(EngineRoom, AWaitForRoomEndsWithAHintToComeBack) {
  const auto first = Begin(Request());
  Later<UploadStart> waiting;
  const auto cancel = model_->StartUpload(other_->Next(bytes_.size()), waiting.done());
  server_.Advance(model_.get(), seconds(9));
  EXPECT_FALSE(waiting.ready());
  server_.Advance(model_.get(), seconds(1));
  const absl::Status refused = waiting.Get().status();
  EXPECT_THAT(refused, Refused(StatusCode::kResourceExhausted, "STAGING_FULL"));
  EXPECT_TRUE(RetryAfterOf(refused).has_value());
}

TEST_F(EngineRoom, AWithdrawnWaitIsForgottenAndLetsTheNextOneIn) {
  auto first = Begin(Request());
  Worker third(model_, "x");
  Later<UploadStart> withdrawn, waiting;
  auto cancel = model_->StartUpload(other_->Next(bytes_.size()), withdrawn.done());
  const auto keep = model_->StartUpload(third.Next(bytes_.size()), waiting.done());
  cancel.reset();
  ASSERT_TRUE(AddAll(first.get(), bytes_).ok());
  ASSERT_TRUE(Finish(first.get()).ok());
  EXPECT_TRUE(waiting.Get().ok());
  EXPECT_FALSE(withdrawn.ready());
}

TEST_F(EngineRoom, WaitersAreServedInTheirOrder) {
  auto first = Begin(Request());
  Worker third(model_, "x");
  Later<UploadStart> second_start, third_start;
  const auto keep_second = model_->StartUpload(other_->Next(bytes_.size()), second_start.done());
  const auto keep_third = model_->StartUpload(third.Next(bytes_.size()), third_start.done());
  ASSERT_TRUE(AddAll(first.get(), bytes_).ok());
  ASSERT_TRUE(Finish(first.get()).ok());
  absl::StatusOr<UploadStart> second = second_start.Get();
  ASSERT_TRUE(second.ok());
  server_.Quiesce(model_.get());
  EXPECT_FALSE(third_start.ready());
  ASSERT_TRUE(AddAll(second->upload.get(), bytes_).ok());
  ASSERT_TRUE(Finish(second->upload.get()).ok());
  EXPECT_TRUE(third_start.Get().ok());
}

TEST_F(EngineRoom, AParkedUploadGivesWay) {
  auto first = Begin(Request());
  ASSERT_TRUE(AddOne(first.get(), 0, 48000).ok());
  Later<UploadStart> waiting;
  const auto cancel = model_->StartUpload(other_->Next(bytes_.size()), waiting.done());
  first.reset();
  const absl::StatusOr<UploadStart> start = waiting.Get();
  ASSERT_TRUE(start.ok()) << start.status();
  // The first one's bytes are gone; it starts again from 0 when there is room.
  EXPECT_THAT(StartUpload(model_.get(), Resume(48000)).status(),
              Refused(StatusCode::kInvalidArgument, "BAD_OFFSET"));
  ASSERT_TRUE(AddAll(start->upload.get(), bytes_).ok());
  ASSERT_TRUE(Finish(start->upload.get()).ok());
  ASSERT_TRUE(worker_->Send(Resume(0), bytes_).ok());
}

TEST_F(EngineRoom, APushAheadOfItsPredecessorDoesNotTakeItsRoom) {
  const UploadRequest one = Request(), two = Request();
  Later<UploadStart> second;
  const auto cancel = model_->StartUpload(two, second.done());
  EXPECT_FALSE(second.ready()) << "it would wait in the core with all the memory there is";
  const auto first = Begin(one);
  ASSERT_TRUE(AddAll(first.get(), bytes_).ok());
  ASSERT_TRUE(Finish(first.get()).ok());
  EXPECT_TRUE(second.Get().ok());
}

TEST_F(EngineRoom, APushWhosePredecessorNeverComesIsToldSo) {
  Request();
  Later<UploadStart> second;
  const auto cancel = model_->StartUpload(Request(), second.done());
  server_.Advance(model_.get(), seconds(10));
  const absl::Status refused = second.Get().status();
  EXPECT_THAT(refused, Refused(StatusCode::kFailedPrecondition, "SEQUENCE_GAP"));
  EXPECT_EQ(MetadataOf(refused)["expected"], "1");
}

// A worker that runs ahead of a sync round would fill the only room with a push that must wait for the round,
// while the round waits for the others: nobody could go on.
TEST_F(EngineUpload, AWorkerThatRunsAheadCannotLockTheOthersOutOfTheRound) {
  ModelSpec spec = DeltaSpec("sync", {kElements});
  spec.staging_bytes = kElements * sizeof(float);
  const auto model = server_.Create(spec, Constant(kElements, 5));
  Worker fast(model, "fast"), slow(model, "slow");
  ASSERT_TRUE(fast.Push(Constant(kElements, 1)).ok());
  Later<UploadStart> ahead;
  const auto cancel = model->StartUpload(fast.Next(bytes_.size()), ahead.done());
  EXPECT_FALSE(ahead.ready());
  const absl::StatusOr<PushAnswer> answer = slow.Push(Constant(kElements, 1));
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->outcome, PushOutcome::kApplied);
  EXPECT_TRUE(ahead.Get().ok()) << "the next round is open to it";
}

TEST_F(EngineRoom, UploadsAreCountedInTheBudgetUntilTheCoreLetsGo) {
  ModelSpec spec = DeltaSpec("ordered", {kElements});
  spec.rounds.reduction = Reduction::kOrdered;
  spec.rounds.max_workers = 3;
  spec.staging_bytes = 3 * kElements * sizeof(float);
  const auto model = server_.Create(spec, Constant(kElements, 5));
  Worker a(model, "a"), b(model, "b"), c(model, "c"), d(model, "d");
  ASSERT_TRUE(a.Push(Constant(kElements, 1)).ok());
  ASSERT_TRUE(b.Push(Constant(kElements, 1)).ok());
  const absl::StatusOr<UploadStart> third = StartUpload(model.get(), c.Next(bytes_.size()));
  ASSERT_TRUE(third.ok());
  Later<UploadStart> fourth;
  const auto cancel = model->StartUpload(d.Next(bytes_.size()), fourth.done());
  server_.Quiesce(model.get());
  EXPECT_FALSE(fourth.ready()) << "two pushes stay staged until the round closes, a third is arriving";
  ASSERT_TRUE(AddAll(third->upload.get(), bytes_).ok());
  ASSERT_EQ(Finish(third->upload.get())->outcome, PushOutcome::kApplied);
  EXPECT_TRUE(fourth.Get().ok()) << "the round has given its room back";
  EXPECT_EQ(Weights(model.get()), Constant(kElements, 4));
}

}  // namespace
}  // namespace stepback

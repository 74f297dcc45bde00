// Every allocation whose size a payload, a tensor or a model decides goes through the server's pool. Here
// each of them fails once: in uploads, pulls of every form, commits of every kind, snapshots, restores,
// imports and a start. Exactly one request is refused and says of what model and how many bytes; nothing else
// has changed; the same request succeeds when it comes again; and the end is, bit for bit, that of an
// undisturbed life, with no byte left in use.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <vector>

#include "kernels/codec_info.h"
#include "server/base/status_macros.h"
#include "tests/unit/push_server.h"

namespace stepback {
namespace {

using absl::StatusCode;
using std::chrono::seconds;

// A life: what is made, and who works on it.
struct Scene {
  const char* name;
  ModelSpec spec;
  int workers = 2;
  bool puts_off = false;  // a commit without memory is tried again a second later, and nobody is refused
};

std::vector<float> Numbers(size_t count, float scale) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = scale * (static_cast<float>(i * 37 % 101) - 50) / 64;
  return values;
}

struct Client {
  std::string id;
  uint64_t epoch = 0;
  uint64_t sequence = 0;  // acknowledged
};

class Life {
 public:
  // Allocation `fail` of the life fails; 0: none.
  Life(const Scene& scene, int64_t fail) : scene_(scene), server_(1) {
    for (int w = 0; w < scene.workers; ++w) clients_.push_back({.id = "w" + std::to_string(w)});
    server_.pool.FailAllocation(fail);
  }
  ~Life() {
    server_.model.reset();
    server_.engine.reset();
    EXPECT_EQ(server_.pool.stats().in_use_count, 0u) << "buffers that nobody gave back";
    EXPECT_EQ(server_.pool.stats().in_use_bytes, 0u);
  }

  void Live() {
    Do("start", [&] { return server_.Start(); });
    Do("create", [&] { return server_.Create(scene_.spec, Numbers(elements(), 8)); });
    if (server_.model == nullptr) return;
    OpenAll();
    for (int round = 0; round < 3; ++round) Round();
    PullAll();
    Save("kept");
    Round();
    SleepPastInterval();
    Restore();
    OpenAll();
    Round();
    PullDifferences();
    Import();
    Round();
    Round();
    PullDifferences();
    Save("");
    Round();
    Restart();
    OpenAll();
    Round();
    PullAll();
    LeaveInTheMiddle();
    picture_ += Picture();
  }

  // What was seen: state, and every byte that was pulled.
  const std::string& picture() const { return picture_; }
  int refused() const { return refused_; }
  int unanswered() const { return unanswered_; }
  uint64_t failures() const { return server_.pool.stats().failure_count; }
  uint64_t allocations() const {
    const BufferPool::Stats stats = server_.pool.stats();
    return stats.fresh_count + stats.reuse_count;
  }

 private:
  enum Answers { kTold, kTriedAgain };  // by the server itself, when memory was missing

  uint64_t elements() const {
    uint64_t count = 0;
    for (const TensorSpec& tensor : scene_.spec.tensors) count += ElementsOf(tensor);
    return count;
  }
  static uint64_t ElementsOf(const TensorSpec& tensor) {
    uint64_t count = 1;
    for (const uint64_t dim : tensor.shape) count *= dim;
    return count;
  }
  bool logs() const { return scene_.spec.durability == Durability::kPush; }

  std::string Picture() {
    if (server_.model == nullptr) return "";
    std::string text =
        server_.Hash() + " at " + std::to_string(server_.model->Info().version->version.counter);
    const auto sessions =
        server_.Ask<std::vector<SessionInfo>>([&](auto done) { server_.model->Sessions(done); });
    if (!sessions.ok()) return text + sessions.status().ToString();
    for (const SessionInfo& session : *sessions) {
      text += "; " + session.client_id + " " + std::to_string(session.last_sequence);
      for (const uint32_t round : session.rounds) text += " in " + std::to_string(round);
    }
    return text;
  }

  void CheckRefusal(const absl::Status& why) const {
    const std::string text(why.message());
    if (absl::IsDataLoss(why)) {
      EXPECT_EQ(ReasonOf(why), "MODEL_DAMAGED") << "a start that could not load it";
    } else {
      EXPECT_EQ(why.code(), StatusCode::kResourceExhausted) << why;
      EXPECT_TRUE(ReasonOf(why) == "NO_MEMORY" || ReasonOf(why) == "MEMORY_FULL") << why;
    }
    EXPECT_NE(text.find("'m'"), std::string::npos) << "of which model? " << why;
    EXPECT_NE(text.find("no memory"), std::string::npos) << why;
  }

  // `call` succeeds; or it is the one that found no memory.
  void Do(const char* what, const std::function<absl::Status()>& call, Answers answers = kTold) {
    if (testing::Test::HasFailure()) return;
    SCOPED_TRACE(what);
    const std::string before = failures() == 0 ? Picture() : "";  // it can only fail once
    const uint64_t failed = failures();
    const absl::Status done = call();
    server_.RunAll();
    if (done.ok()) {
      EXPECT_TRUE(answers == kTriedAgain || failures() == failed)
          << "memory was missing, and nobody was told";
      unanswered_ += failures() == failed ? 0 : 1;
      return;
    }
    ++refused_;
    EXPECT_EQ(failures(), failed + 1) << done;
    CheckRefusal(done);
    // What lacked memory was the snapshot behind a change that is there and says so: it is asked for again.
    const bool unsaved =
        std::string(done.message()).find("the change is not on disk yet") != std::string::npos;
    if (!absl::IsDataLoss(done) && !unsaved) EXPECT_EQ(Picture(), before);
    const absl::Status again = unsaved ? AskSave("") : call();
    server_.RunAll();
    EXPECT_TRUE(again.ok()) << "the same again: " << again << ", after " << done;
  }

  void OpenAll() {
    for (Client& client : clients_) {
      Do("open", [&]() -> absl::Status {
        const auto opened = server_.Ask<SessionOpened>(
            [&](auto done) { server_.model->Open({.client_id = client.id}, done); });
        if (!opened.ok()) return opened.status();
        client.epoch = opened->session.epoch;
        client.sequence = opened->session.last_sequence;
        return absl::OkStatus();
      });
    }
  }

  // --- pushes ---

  // Every client sends one, each in another codec than the time before, in chunks that are copied.
  void Round() {
    for (Client& client : clients_) Push(&client);
    if (scene_.puts_off) Wait();
  }

  void Push(Client* client) {
    const auto codecs = kernels::Codecs();
    const kernels::CodecInfo& codec = codecs[pushes_++ % codecs.size()];
    const float scale = 0.25f * static_cast<float>(1 + pushes_ % 3);
    Do(
        "push",
        [&] {
          const UploadRequest request = RequestOf(*client, codec);
          const std::vector<std::byte> bytes = Encoded(request, codec, scale);
          UploadRequest sized = request;
          sized.total_bytes = bytes.size();
          return server_.Send(sized, bytes, /*chunk_bytes=*/256).status();
        },
        scene_.puts_off ? kTriedAgain : kTold);
    ++client->sequence;
  }

  UploadRequest RequestOf(const Client& client, const kernels::CodecInfo& codec) const {
    const auto version = server_.model->Info().version;
    UploadRequest request;
    request.header = {.client_id = client.id,
                      .epoch = client.epoch,
                      .sequence = client.sequence + 1,
                      .kind = scene_.spec.mode == Mode::kGradient ? PushKind::kGradient : PushKind::kDelta,
                      .base = version->version};
    request.header.codec = codec.id;
    if (scene_.spec.fragments.any()) {
      request.header.fragment = static_cast<uint32_t>(client.sequence % 2);
      request.header.fragment_step = version->fragments[*request.header.fragment].outer_steps;
    }
    return request;
  }

  std::vector<std::byte> Encoded(const UploadRequest& request, const kernels::CodecInfo& codec,
                                 float scale) const {
    std::vector<std::byte> bytes;
    for (size_t t = 0; t < scene_.spec.tensors.size(); ++t) {
      if (request.header.fragment.has_value() && *request.header.fragment != t) continue;
      const std::vector<float> values = Numbers(ElementsOf(scene_.spec.tensors[t]), scale);
      const size_t at = bytes.size();
      bytes.resize(at + codec.encoded_bytes(values.size()));
      codec.encode(values.data(), values.size(), bytes.data() + at);
    }
    return bytes;
  }

  // The others wait for one that goes: its leaving closes the round.
  void LeaveInTheMiddle() {
    for (size_t i = 1; i < clients_.size(); ++i) Push(&clients_[i]);
    const Client& leaving = clients_[0];
    Do(
        "close",
        [&] {
          return server_.AskStatus([&](auto done) { server_.model->Close(leaving.id, leaving.epoch, done); });
        },
        kTriedAgain);
    Wait();
  }

  // What is tried again by itself has its turn.
  void Wait() { LetPass("wait", seconds(2)); }

  void SleepPastInterval() {
    for (int i = 0; i < 2; ++i) LetPass("sleep", seconds(61));
  }

  void LetPass(const char* name, seconds time) {
    Do(
        name,
        [&] {
          server_.Advance(time);
          return absl::OkStatus();
        },
        kTriedAgain);
  }

  // --- pulls ---

  void Show(const absl::StatusOr<std::vector<std::byte>>& bytes) {
    if (bytes.ok()) picture_ += " " + std::to_string(Crc32c(bytes->data(), bytes->size()));
  }

  void Pull(const PullSpec& spec) {
    Do("pull", [&] {
      const auto bytes = ReadAll(server_.model.get(), spec);
      Show(bytes);
      return bytes.status();
    });
  }

  void PullAll() {
    std::vector<View> views = {View::kEval, View::kTrain};
    for (const AverageSpec& average : scene_.spec.averages) views.push_back({View::kAverage, average.name});
    for (const View& view : views) {
      for (const kernels::CodecInfo& codec : kernels::Codecs())
        if (!codec.for_differences) Pull({.view = view, .codec = codec.id});
    }
  }

  void PullDifferences() {
    for (size_t i = 0; i < std::size(differences_); ++i) {
      DifferenceSpec& has = differences_[i];
      has.codec = i == 0 ? kLosslessBf16 : kernels::FindCodec("int8")->id;
      Do("pull a difference", [&]() -> absl::Status {
        auto reader = server_.model->Read(server_.model->Pin(), {.difference = has});
        RETURN_IF_ERROR(reader.status());
        for (uint64_t c = 0; c < (*reader)->chunk_count(); ++c) {
          const auto chunk = (*reader)->Chunk(c);
          RETURN_IF_ERROR(chunk.status());
          picture_ += " " + std::to_string(chunk->crc32c);
        }
        has.base = (*reader)->pin().version().version;
        has.chain = (*reader)->difference()->chain;
        return absl::OkStatus();
      });
    }
  }

  // --- operators ---

  absl::Status AskSave(const std::string& label) {
    return server_.Ask<SnapshotInfo>([&](auto done) { server_.model->SaveSnapshot(label, done); }).status();
  }
  void Save(const std::string& label) {
    Do("save", [&] { return AskSave(label); });
  }

  // With a log the snapshot that follows is the server's own idea, and is tried again.
  void Restore() {
    Do(
        "restore",
        [&] {
          return server_.Ask<ModelInfo>([&](auto done) { server_.model->RestoreSnapshot("kept", 0, done); })
              .status();
        },
        logs() ? kTriedAgain : kTold);
  }

  void Import() {
    Do(
        "import",
        [&] {
          const Payload dense = PayloadOf(BytesOfFloats(Numbers(elements(), 4)));
          return server_.Ask<ModelInfo>([&](auto done) { server_.model->Import(dense, done); }).status();
        },
        logs() ? kTriedAgain : kTold);
  }

  void Restart() {
    if (scene_.spec.durability != Durability::kVolatile) {
      Do("flush",
         [&] { return server_.Ask<Version>([&](auto done) { server_.model->Flush(done); }).status(); });
    }
    Do("drain", [&] { return server_.AskStatus([&](auto done) { server_.engine->Drain(done); }); });
    Do("start", [&]() -> absl::Status {
      RETURN_IF_ERROR(server_.Start());
      return server_.engine->Find("m").status();
    });
  }

  const Scene& scene_;
  PushServer server_;
  std::vector<Client> clients_;
  uint64_t pushes_ = 0;
  DifferenceSpec differences_[2];
  std::string picture_;
  int refused_ = 0;
  int unanswered_ = 0;
};

// --- scenes ---

ModelSpec Common(ModelSpec spec) {
  spec.snapshot_interval_seconds = 60;
  spec.lease_seconds = 3600;
  spec.rounds.policy = RoundPolicy::kSync;
  spec.rounds.max_workers = 2;
  spec.rounds.max_staleness = 1000;
  // Room for what two clients send at most, so that a reservation that is not given back stops the next push.
  uint64_t elements = 0;
  for (const TensorSpec& tensor : spec.tensors) {
    uint64_t count = 1;
    for (const uint64_t dim : tensor.shape) count *= dim;
    elements += count;
  }
  spec.staging_bytes = 2 * (elements * sizeof(float) + 64 * spec.tensors.size());
  return spec;
}

ModelSpec Running() {
  ModelSpec spec = Common(DeltaSpec("m", {200, 100}));
  spec.outer = {.name = "nesterov"};
  spec.rounds.accumulate = AccumulateType::kF64;
  spec.averages = {{"ema", {.name = "ema"}},
                   {"swa", {.name = "swa", .values = {{"period", 2}}}},
                   {"rna", {.name = "rna", .values = {{"memory", 3}, {"regularization", 0.01}}}},
                   {"online", {.name = "online_rna", .values = {{"memory", 3}, {"regularization", 0.01}}}}};
  return spec;
}

ModelSpec Summed() {
  ModelSpec spec = Common(DeltaSpec("m", {200, 100}));
  spec.outer = {.name = "heavy_ball"};
  spec.clip.contribution_norm = 5;
  return spec;
}

ModelSpec Ordered() {
  ModelSpec spec = Common(GradientSpec("m", {200, 100}));
  spec.inner = {.name = "adamw", .values = {{"lr", 0.01}}};
  spec.inner_state = InnerState::kPullback;
  spec.rounds.reduction = Reduction::kOrdered;
  spec.averages = {{"ema", {.name = "ema"}}};
  return spec;
}

ModelSpec Robust() {
  ModelSpec spec = Common(DeltaSpec("m", {200, 100}));
  spec.rounds.reduction = Reduction::kOrdered;
  spec.rounds.quorum = 2;
  spec.rounds.aggregator = {.name = "coordinate_median"};
  return spec;
}

ModelSpec Fragments() {
  ModelSpec spec = Common(DeltaSpec("m", {200, 100}));
  spec.fragments.parts = {{.tensors = {"t0"}}, {.tensors = {"t1"}}};
  return spec;
}

ModelSpec Compensated() {
  ModelSpec spec = Common(GradientSpec("m", {200, 100}));
  spec.rounds.policy = RoundPolicy::kAsync;
  spec.rounds.staleness.name = "delay_compensated";
  spec.rounds.history_versions = 3;
  return spec;
}

ModelSpec Whole(RoundPolicy policy) {
  ModelSpec spec = Common(GradientSpec("m", {200, 100}));
  spec.tensors = {{.name = "t0", .shape = {10, 20}}, {.name = "t1", .shape = {10, 10}}};
  spec.inner = {.name = "muon"};
  spec.rounds.policy = policy;
  return spec;
}

ModelSpec Kept(ModelSpec spec, Durability durability) {
  spec.durability = durability;
  return spec;
}

std::vector<Scene> Scenes() {
  return {
      {"running", Running()},
      {"summed_logged", Kept(Summed(), Durability::kPush)},
      {"ordered", Ordered()},
      {"ordered_logged", Kept(Ordered(), Durability::kPush)},
      {"robust", Robust()},
      {"fragments_logged", Kept(Fragments(), Durability::kPush)},
      {"compensated_logged", Kept(Compensated(), Durability::kPush)},
      {"whole_alone", Whole(RoundPolicy::kAsync), 1},
      {"whole_together", Whole(RoundPolicy::kSync), 2, true},
      {"whole_together_logged", Kept(Whole(RoundPolicy::kSync), Durability::kPush), 2, true},
      {"volatile", Kept(Summed(), Durability::kVolatile)},
  };
}

class EngineMemoryFaults : public testing::TestWithParam<Scene> {};

TEST_P(EngineMemoryFaults, AnyFailedAllocationFailsOneRequestAndNothingElse) {
  const Scene& scene = GetParam();
  Life undisturbed(scene, 0);
  undisturbed.Live();
  ASSERT_EQ(undisturbed.refused(), 0);
  const auto count = static_cast<int64_t>(undisturbed.allocations());
  EXPECT_GT(count, 40) << "a life of fewer allocations is no life";
  int refused = 0, tried_again = 0;
  for (int64_t n = 1; n <= count && !testing::Test::HasFailure(); ++n) {
    SCOPED_TRACE(testing::Message() << "allocation " << n << " of " << count);
    Life life(scene, n);
    life.Live();
    EXPECT_EQ(life.failures(), 1u);
    EXPECT_EQ(life.refused() + life.unanswered(), 1);
    EXPECT_EQ(life.picture(), undisturbed.picture());
    refused += life.refused();
    tried_again += life.unanswered();
  }
  EXPECT_GT(refused, 2 * tried_again);
  std::printf("%s: %lld allocations failed, %d requests refused, %d tried again by the server\n", scene.name,
              static_cast<long long>(count), refused, tried_again);
}

INSTANTIATE_TEST_SUITE_P(Scenes, EngineMemoryFaults, testing::ValuesIn(Scenes()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace stepback

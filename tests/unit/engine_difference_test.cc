// Pulls by differences: what a reader makes of them is the full form (lossless) or what every other reader
// has (with a codec), whoever pulled when; and what the server keeps for it is bounded and counted.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <thread>

#include "server/engine/differences.h"
#include "tests/unit/engine_fixture.h"

namespace stepback {
namespace {

using absl::StatusCode;

constexpr uint32_t kSeed = 7;
constexpr size_t kTrained = 3 * 4096 + 100, kSmall = 9, kFrozen = 16;

// Trained "t0", a carried counter (two i32), an averaged "t2", a frozen "t3".
ModelSpec Spec() {
  ModelSpec spec = DeltaSpec("lm", {kTrained});
  spec.tensors.push_back({.name = "n", .shape = {2}, .dtype = DataType::kI32, .role = Role::kCarried});
  spec.tensors.push_back({.name = "mean", .shape = {kSmall}, .role = Role::kAveraged});
  spec.tensors.push_back({.name = "base", .shape = {kFrozen}, .role = Role::kFrozen});
  spec.rounds.policy = RoundPolicy::kAsync;
  return spec;
}
constexpr size_t kFloats = kTrained + 2 + kSmall;  // of a push; a counter has the size of a float

// Bytes in order, as docs/wire.md says them; nothing of kernels/.
class Bytes {
 public:
  explicit Bytes(const std::vector<std::byte>& bytes) : bytes_(bytes) {}
  uint32_t Integer(size_t size) {
    uint32_t value = 0;
    for (size_t i = 0; i < size; ++i) value |= std::to_integer<uint32_t>(bytes_.at(at_ + i)) << 8 * i;
    at_ += size;
    return value;
  }
  std::vector<std::byte> Raw(size_t size) {
    std::vector<std::byte> raw(bytes_.begin() + at_, bytes_.begin() + at_ + size);
    at_ += size;
    return raw;
  }
  bool done() const { return at_ == bytes_.size(); }

 private:
  const std::vector<std::byte>& bytes_;
  size_t at_ = 0;
};

// What a reader has: the numbers of the three numeric tensors, and the counter's bytes.
struct Held {
  std::vector<float> trained, mean, frozen;
  std::vector<std::byte> counter;
  friend bool operator==(const Held&, const Held&) = default;
};

Held Full(const std::vector<std::byte>& payload, bool bf16) {
  Bytes bytes(payload);
  const auto numbers = [&](size_t n) {
    std::vector<float> values(n);
    for (float& x : values) {
      const uint32_t bits = bf16 ? bytes.Integer(2) << 16 : bytes.Integer(4);
      std::memcpy(&x, &bits, sizeof x);
    }
    return values;
  };
  Held held{.trained = numbers(kTrained), .mean = {}, .frozen = {}, .counter = bytes.Raw(8)};
  held.mean = numbers(kSmall);
  held.frozen = numbers(kFrozen);
  EXPECT_TRUE(bytes.done());
  return held;
}

void AddChangesOfBlock(Bytes* bytes, float* values, size_t n) {
  const uint32_t count = bytes->Integer(2);
  std::vector<size_t> places;
  if (count == n) {
    for (size_t i = 0; i < n; ++i) places.push_back(i);
  } else if (count > 0 && (3 * count + 1) / 2 <= (n + 7) / 8) {
    const std::vector<std::byte> packed = bytes->Raw((3 * count + 1) / 2);
    const auto bit = [&](size_t i) { return std::to_integer<uint32_t>(packed[i / 8]) >> i % 8 & 1; };
    for (size_t j = 0; j < count; ++j) {
      size_t index = 0;
      for (size_t k = 0; k < 12; ++k) index |= static_cast<size_t>(bit(12 * j + k)) << k;
      places.push_back(index);
    }
  } else if (count > 0) {
    const std::vector<std::byte> map = bytes->Raw((n + 7) / 8);
    for (size_t i = 0; i < n; ++i) {
      if ((std::to_integer<uint32_t>(map[i / 8]) >> i % 8 & 1) != 0) places.push_back(i);
    }
  }
  ASSERT_EQ(places.size(), count);
  for (const size_t place : places) {
    const uint32_t bits = bytes->Integer(2) << 16;
    ASSERT_LT(place, n);
    std::memcpy(values + place, &bits, sizeof bits);
  }
}

void AddLossless(Bytes* bytes, Held* held) {
  for (size_t at = 0; at < kTrained; at += 4096) {
    AddChangesOfBlock(bytes, &held->trained[at], std::min<size_t>(4096, kTrained - at));
  }
  held->counter = bytes->Raw(8);
  AddChangesOfBlock(bytes, held->mean.data(), kSmall);
}

void AddInt8(Bytes* bytes, Held* held) {
  const auto add = [&](std::vector<float>* values) {
    for (size_t at = 0; at < values->size(); at += 256) {
      const uint32_t bits = bytes->Integer(4);
      float scale;
      std::memcpy(&scale, &bits, sizeof scale);
      for (size_t i = at; i < std::min(at + 256, values->size()); ++i) {
        (*values)[i] += scale * static_cast<float>(static_cast<int8_t>(bytes->Integer(1)));
      }
    }
  };
  add(&held->trained);
  held->counter = bytes->Raw(8);
  add(&held->mean);
}

class EngineDifference : public testing::Test {
 protected:
  EngineDifference() : model_(server_.Create(Spec(), Ramp(kFloats + kFrozen, 0.37f))), worker_(model_, "w") {}

  // Changes about `share` of the numbers, by about `size`.
  void Push(double share, float size = 0.02f) {
    std::vector<float> delta(kFloats, 0.0f);
    std::normal_distribution<float> normal(0, size);
    for (float& x : delta) {
      if (std::uniform_real_distribution<>()(random_) < share) x = normal(random_);
    }
    const int32_t counter[2] = {++pushes_, -pushes_};
    std::memcpy(&delta[kTrained], counter, sizeof counter);
    ASSERT_TRUE(worker_.Push(delta).ok());
  }

  struct Reader {
    int codec = kLosslessBf16;
    Version version = {};
    uint64_t chain = 0;
    Held held = {};
    size_t differences = 0, full = 0, bytes = 0;
  };
  static DifferenceSpec Has(const Reader& reader) { return {reader.codec, reader.version, reader.chain}; }
  PullReader::Difference Pull(Reader* reader, View view = View::kEval) {
    auto pulled =
        model_->Read(model_->Pin(), {.view = view, .chunk_bytes = 4096, .difference = Has(*reader)});
    EXPECT_TRUE(pulled.ok()) << pulled.status();
    const PullReader::Difference what = *(*pulled)->difference();
    std::vector<std::byte> payload;
    for (uint64_t i = 0; i < (*pulled)->chunk_count(); ++i) {
      const std::vector<std::byte> chunk = Joined((*pulled)->Chunk(i)->data);
      payload.insert(payload.end(), chunk.begin(), chunk.end());
    }
    EXPECT_EQ(payload.size(), (*pulled)->total_bytes());
    Take(what, payload, reader);
    reader->version = (*pulled)->pin().version().version;
    return what;
  }
  static void Take(const PullReader::Difference& what, const std::vector<std::byte>& payload,
                   Reader* reader) {
    reader->chain = what.chain;
    reader->bytes += payload.size();
    if (what.base.term == 0) {
      ++reader->full;
      reader->held = Full(payload, reader->codec == kLosslessBf16);
      return;
    }
    EXPECT_EQ(what.base, reader->version);
    ++reader->differences;
    Bytes bytes(payload);
    for (uint32_t i = 0; i < what.count; ++i) {
      reader->codec == kLosslessBf16 ? AddLossless(&bytes, &reader->held) : AddInt8(&bytes, &reader->held);
    }
    EXPECT_TRUE(bytes.done());
  }
  Held Bf16Now() { return Full(*ReadAll(model_.get(), {.codec = kernels::FindCodec("bf16")->id}), true); }
  Held Now() { return Full(*ReadAll(model_.get(), {}), false); }

  const int int8_ = kernels::FindCodec("int8")->id;
  EngineFixture server_;
  std::shared_ptr<Handle> model_;
  Worker worker_;
  std::mt19937 random_{kSeed};
  int32_t pushes_ = 0;
};

TEST_F(EngineDifference, AChainOfFiftyVersionsIsTheFullFormBitForBit) {
  Reader every, third;
  Pull(&every);
  Pull(&third);
  for (int version = 1; version <= 50; ++version) {
    // Nothing, indices, bit maps and, now and then, everything: then the full form is smaller.
    Push(std::vector<double>{0, 0.0005, 0.01, 0.3, 0.9}[version % 7 % 5]);
    Pull(&every);
    ASSERT_EQ(every.held, Bf16Now()) << "version " << version << ", seed " << kSeed;
    if (version % 3 != 0) continue;
    Pull(&third);
    ASSERT_EQ(third.held, every.held) << "version " << version << ", seed " << kSeed;
  }
  EXPECT_EQ(every.differences + every.full, 51u);
  EXPECT_GT(every.differences, 40u);
  EXPECT_GT(third.differences, 5u) << "several differences in one answer";
  EXPECT_LT(every.bytes, 51 * 2 * kTrained / 3);
}

TEST_F(EngineDifference, AReaderThatIsUpToDateGetsNothing) {
  Reader reader;
  Pull(&reader);
  const PullReader::Difference what = Pull(&reader);
  EXPECT_EQ(what.base, reader.version);
  EXPECT_EQ(what.count, 0u);
}

TEST_F(EngineDifference, TheFullFormComesWhereItIsSmallerOrTheBaseIsNotKept) {
  Reader reader, behind;
  Pull(&reader);
  Pull(&behind);
  Push(1, 1);
  EXPECT_EQ(Pull(&reader).base.term, 0u) << "every value is another one";
  EXPECT_EQ(reader.held, Bf16Now());
  for (int i = 0; i < 12; ++i) {  // each a quarter of the full form
    Push(0.2, 1);
    EXPECT_EQ(Pull(&reader).count, 1u);
  }
  EXPECT_EQ(Pull(&behind).base.term, 0u) << "too far behind";
  EXPECT_EQ(behind.held, reader.held);
  Push(0.001);
  Reader unknown = reader;  // of a version that nobody pulled
  Push(0.001);
  unknown.version = {unknown.version.term, unknown.version.counter + 1};
  EXPECT_EQ(Pull(&unknown).base.term, 0u);
  EXPECT_EQ(unknown.held, Bf16Now());
}

TEST_F(EngineDifference, WithACodecEveryReaderHasTheSameBitsAndTheErrorStaysBounded) {
  Reader every{.codec = int8_}, third{.codec = int8_};
  Pull(&every);
  Pull(&third);
  EXPECT_EQ(every.held, Now()) << "the first form is exact";
  for (int version = 1; version <= 50; ++version) {
    Push(1);
    const Held before = every.held;
    Pull(&every);
    const Held now = Now();
    for (size_t begin = 0; begin < kTrained; begin += 256) {
      // What the last difference was of has the residual in it, and only its rounding is lost (invariant 33).
      double largest = 0;
      const size_t end = std::min(begin + 256, kTrained);
      for (size_t i = begin; i < end; ++i) {
        largest = std::max(largest, std::abs(double{now.trained[i]} - before.trained[i]));
      }
      for (size_t i = begin; i < end; ++i) {
        ASSERT_LE(std::abs(double{now.trained[i]} - every.held.trained[i]),
                  largest / 253.9 + 0x1p-22 * std::abs(now.trained[i]))
            << "version " << version << ", element " << i << ", seed " << kSeed;
      }
    }
    ASSERT_EQ(every.held.counter, now.counter);
    ASSERT_EQ(every.held.frozen, now.frozen);
    if (version % 2 != 0) continue;
    Pull(&third);
    ASSERT_EQ(third.held, every.held) << "version " << version;
    Reader newcomer{.codec = int8_};
    Pull(&newcomer);
    ASSERT_EQ(newcomer.held, every.held) << "in full or not: the same bits";
  }
  EXPECT_EQ(every.differences, 50u);
  EXPECT_EQ(third.differences, 25u) << "two at a time";
  EXPECT_LT(every.bytes, 50 * kTrained * 1.1 + 5 * kTrained) << "one byte a number, not four";
}

TEST_F(EngineDifference, ALongWayBehindWithACodecIsInFullToo) {
  Reader every{.codec = int8_}, behind{.codec = int8_};
  Pull(&every);
  Pull(&behind);
  for (int i = 0; i < 4; ++i) {
    Push(1);
    Pull(&every);
  }
  EXPECT_EQ(Pull(&behind).base.term, 0u);
  EXPECT_EQ(behind.held, every.held);
}

TEST_F(EngineDifference, WeightsOfAnotherChainAreNotStartedFrom) {
  Reader first{.codec = int8_}, second;
  Pull(&first);
  Push(1);
  Pull(&first);
  EXPECT_NE(first.held.trained, Now().trained) << "something was lost";
  Reader e3m0{.codec = kernels::FindCodec("e3m0")->id};
  ASSERT_TRUE(model_->Read(model_->Pin(), {.difference = Has(e3m0)}).ok());
  Pull(&second);  // the third chain: the first one goes
  EXPECT_EQ(Pull(&first).base.term, 0u) << "of the same version, but not the same bits";
  EXPECT_EQ(first.held, Now());
}

TEST_F(EngineDifference, ViewsHaveTheirOwnChainsAndInDeltaModeShareOne) {
  Reader eval{.codec = int8_}, train{.codec = int8_};
  Pull(&eval, View::kEval);
  EXPECT_EQ(Pull(&train, View::kTrain).chain, eval.chain);
  const absl::Status unknown =
      model_->Read(model_->Pin(), {.view = {View::kAverage, "x"}, .difference = Has(eval)}).status();
  EXPECT_THAT(unknown, Refused(StatusCode::kFailedPrecondition, "AVERAGE_NOT_CONFIGURED"));
  EXPECT_EQ(Pull(&eval, View::kEval).count, 0u) << "its chain is still there";
}

TEST_F(EngineDifference, AVersionIsEncodedOnceAndTheNextOneFromMemoryThatIsCounted) {
  const uint64_t state = model_->Info().state_bytes, used = server_.pool.stats().in_use_bytes;
  Reader first{.codec = int8_}, second{.codec = int8_};
  Pull(&first);
  Pull(&second);
  const uint64_t whole = 4 * (kTrained + kSmall + kFrozen) + 8;
  EXPECT_EQ(model_->Info().state_bytes - state, whole);
  Push(1);
  const auto a = model_->Read(model_->Pin(), {.difference = Has(first)});
  const uint64_t once = server_.pool.stats().in_use_bytes;
  const auto b = model_->Read(model_->Pin(), {.difference = Has(second)});
  EXPECT_EQ((*a)->Chunk(0)->data.view().spans()[0].data, (*b)->Chunk(0)->data.view().spans()[0].data);
  EXPECT_LE(server_.pool.stats().in_use_bytes, once) << "the second reader costs nothing";
  for (int i = 0; i < 20; ++i) {
    Push(1);
    Pull(&first);
    ASSERT_LT(model_->Info().state_bytes - state, 2 * whole) << "at most twice the full form";
  }
  EXPECT_GT(server_.pool.stats().in_use_bytes, used);
}

TEST_F(EngineDifference, AChainThatNobodyReadsGoes) {
  const uint64_t state = model_->Info().state_bytes;
  Reader reader;
  Pull(&reader);
  EXPECT_GT(model_->Info().state_bytes, state);
  for (uint32_t i = 0; i <= Differences::kIdleVersions; ++i) Push(0.0001);
  EXPECT_EQ(model_->Info().state_bytes, state);
  EXPECT_EQ(Pull(&reader).base.term, 0u);
  EXPECT_EQ(reader.held, Bf16Now());
}

TEST_F(EngineDifference, WithoutMemoryAReaderIsToldAndTheChainIsAsItWas) {
  for (const int codec : {kLosslessBf16, int8_}) {
    Reader reader{.codec = codec};
    Pull(&reader);
    Push(0.01);
    for (int nth = 1; nth <= 2; ++nth) {
      server_.pool.FailAllocation(nth);
      const absl::Status status = model_->Read(model_->Pin(), {.difference = Has(reader)}).status();
      ASSERT_THAT(status, Refused(StatusCode::kResourceExhausted, "MEMORY_FULL")) << nth;
    }
    server_.pool.FailAllocation(0);
    EXPECT_EQ(Pull(&reader).count, 1u);
    if (codec == kLosslessBf16) EXPECT_EQ(reader.held, Bf16Now());
  }
}

TEST_F(EngineDifference, RestoredWeightsComeInFull) {
  Reader reader;
  Pull(&reader);
  Push(0.01);
  ASSERT_TRUE(Await<SnapshotInfo>([&](auto done) { model_->SaveSnapshot("s", done); }).ok());
  Push(0.01);
  Pull(&reader);
  ASSERT_TRUE(Await<ModelInfo>([&](auto done) { model_->RestoreSnapshot("s", 0, done); }).ok());
  EXPECT_EQ(Pull(&reader).base.term, 0u);
  EXPECT_EQ(reader.held, Bf16Now());
}

TEST_F(EngineDifference, WrongWishesAreRefused) {
  const auto refuse = [&](const PullSpec& spec) { return model_->Read(model_->Pin(), spec).status(); };
  for (const int codec : {-2, 99}) {
    EXPECT_THAT(refuse({.difference = DifferenceSpec{.codec = codec}}),
                Refused(StatusCode::kInvalidArgument, "CODEC_UNKNOWN"));
  }
  EXPECT_THAT(refuse({.ranges = {{0, 10}}, .difference = DifferenceSpec()}),
              Refused(StatusCode::kInvalidArgument, "LAYOUT_MISMATCH"));
  EXPECT_THAT(refuse({.chunk_bytes = 8, .difference = DifferenceSpec()}),
              Refused(StatusCode::kInvalidArgument, "BAD_CHUNK"));
  // Any version and chain may be claimed: what is not kept is answered in full.
  for (const Version base : {Version{1, 5}, Version{~0ull, ~0ull}}) {
    Reader liar{.codec = int8_, .version = base, .chain = 12345};
    EXPECT_EQ(Pull(&liar).base.term, 0u);
    EXPECT_EQ(liar.held, Now());
  }
}

// Under the thread sanitizer: readers of one chain while versions come, each with its own pace.
TEST_F(EngineDifference, ManyReadersOfOneChainAgree) {
  std::vector<Reader> readers(4, Reader{.codec = int8_});
  std::vector<std::thread> threads;
  for (Reader& reader : readers) {
    threads.emplace_back([&] {
      for (int i = 0; i < 40; ++i) Pull(&reader);
    });
  }
  for (int i = 0; i < 20; ++i) Push(1);
  for (std::thread& thread : threads) thread.join();
  for (Reader& reader : readers) Pull(&reader);
  for (const Reader& reader : readers) EXPECT_EQ(reader.held, readers[0].held);
}

}  // namespace
}  // namespace stepback

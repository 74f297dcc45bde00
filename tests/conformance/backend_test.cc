// Buffers and the edges of the interface: memory is written where it may be and nowhere else, failures are
// answers.
#include <cmath>
#include <cstring>

#include "tests/conformance/backends.h"
#include "tests/conformance/reference.h"
#include "tests/conformance/trainer.h"
#include "tests/support/thread_executor.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace stepback::kernels::testing {
namespace {

using stepback::testing::ThreadExecutor;

class BackendOn : public BackendTest {};
INSTANTIATE_FOR_BACKENDS(BackendOn);

TEST_P(BackendOn, ReadsBackWhatWasWritten) {
  auto a = backend_->Allocate(1000), b = backend_->Allocate(1000);
  ASSERT_EQ(a->bytes(), 1000u);
  Bytes sent(900), received(900);
  for (size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<std::byte>(i * 7);
  ASSERT_EQ(backend_->Upload(a.get(), 100, sent.data(), sent.size()), Status::kOk);
  ASSERT_EQ(backend_->Copy(b.get(), *a), Status::kOk);
  ASSERT_EQ(backend_->Download(*b, 100, received.data(), received.size()), Status::kOk);
  EXPECT_EQ(sent, received);
}

TEST_P(BackendOn, FillsAndZeroes) {
  auto buffer = backend_->Allocate(64 * sizeof(float));
  Floats values(64);
  const auto read = [&] {
    backend_->Download(*buffer, 0, reinterpret_cast<std::byte*>(values.data()), 64 * sizeof(float));
    return values;
  };
  backend_->Fill(buffer.get(), -1.5f);
  EXPECT_EQ(read(), Floats(64, -1.5f));
  backend_->Zero(buffer.get());
  EXPECT_EQ(read(), Floats(64, 0.0f));
}

TEST_P(BackendOn, AnswersNullWhenThereIsNoMemory) {
  EXPECT_EQ(backend_->Allocate(size_t{1} << 60), nullptr);
  EXPECT_EQ(backend_->Allocate(~size_t{0}), nullptr);
}

TEST_P(BackendOn, MakesAnEmptyBuffer) {
  auto buffer = backend_->Allocate(0);
  ASSERT_NE(buffer, nullptr);
  EXPECT_EQ(backend_->Fill(buffer.get(), 1), Status::kOk);
  EXPECT_EQ(buffer->bytes(), 0u);
}

#if defined(__x86_64__)
constexpr unsigned kFlushToZero = 0x8040;  // FTZ and DAZ

// Restores the mode of the test program whatever happens.
struct FlushToZeroMode {
  FlushToZeroMode() { _mm_setcsr(saved | kFlushToZero); }
  ~FlushToZeroMode() { _mm_setcsr(saved); }
  const unsigned saved = _mm_getcsr();
};

// Runs tasks on a thread that flushes denormals, and tells whether the mode was still there afterwards.
class FlushingExecutor final : public Executor {
 public:
  void Run(size_t count, const std::function<void(size_t)>& task) override {
    std::thread([&] {
      const FlushToZeroMode mode;
      for (size_t i = 0; i < count; ++i) task(i);
      kept = kept && (_mm_getcsr() & kFlushToZero) == kFlushToZero;
    }).join();
  }
  bool kept = true;
};

TEST_P(BackendOn, KeepsDenormalsWhateverTheCallersFloatingPointMode) {
  const RuleInfo& sgd = *FindInnerRule("sgd");
  const Floats start(40, 0x1p-140f), gradient(40, 0x1p-149f);
  Scenario s;
  {
    Trainer trainer(*backend_, sgd, Hypers(sgd, {{"lr", 1}, {"momentum", 0.5}}), start);
    trainer.Step(gradient);
    s = trainer.saved();
  }
  s.Prepare();
  const Outcome expected = RunReference(s);
  ASSERT_EQ(expected.next.theta[0], 0x1p-140f - 3 * 0x1p-149f) << "the reference works in denormals";
  {
    const FlushToZeroMode mode;
    EXPECT_EQ(DifferenceOf(RunOn(*backend_, &inline_, s), expected), "");
    EXPECT_EQ(_mm_getcsr() & kFlushToZero, kFlushToZero) << "the caller's mode is put back";
  }
  FlushingExecutor executor;
  EXPECT_EQ(DifferenceOf(RunOn(*backend_, &executor, s), expected), "");
  EXPECT_TRUE(executor.kept);
}
#endif

// Host memory with a guard on both sides; counts the bytes that changed in the guards.
class GuardingAllocator final : public HostAllocator {
 public:
  std::byte* Allocate(size_t bytes) noexcept override {
    auto* base = static_cast<std::byte*>(std::malloc(bytes + 2 * kGuard + 64));
    auto* p = base + kGuard + (64 - (reinterpret_cast<uintptr_t>(base) + kGuard) % 64);
    std::memset(base, 0xa5, p - base);
    std::memset(p + bytes, 0xa5, kGuard);
    bases_[p] = base;
    return p;
  }
  void Free(std::byte* p, size_t bytes) noexcept override {
    const std::byte* const base = bases_[p];
    for (const std::byte* b = base; b < p; ++b) damaged += *b != std::byte{0xa5};
    for (const std::byte* b = p + bytes; b < p + bytes + kGuard; ++b) damaged += *b != std::byte{0xa5};
    bases_.erase(p);
    std::free(const_cast<std::byte*>(base));
  }
  size_t live() const { return bases_.size(); }
  size_t damaged = 0;

 private:
  static constexpr size_t kGuard = 4096;
  std::map<std::byte*, std::byte*> bases_;
};

TEST_P(BackendOn, WritesNothingOutsideItsBuffers) {
  GuardingAllocator allocator;
  auto guarded = MakeBackend(GetParam(), &allocator);
  for (uint32_t seed = 0; seed < ScenarioCount(300); ++seed) {
    std::mt19937 random(seed);
    const Scenario scenario = RandomScenario(random);
    if (!RunsOn(*backend_, scenario)) continue;
    RunOn(*guarded, &inline_, scenario);
    ASSERT_EQ(allocator.damaged, 0u) << "seed " << seed;
  }
  EXPECT_EQ(allocator.live(), 0u);
}

class NoMemory final : public HostAllocator {
 public:
  std::byte* Allocate(size_t) noexcept override { return nullptr; }
  void Free(std::byte*, size_t) noexcept override {}
};

TEST(CpuBackend, TakesItsMemoryFromTheAllocatorItIsGiven) {
  NoMemory none;
  EXPECT_EQ(MakeCpuBackend("generic", &none)->Allocate(64), nullptr);
}

TEST(CpuBackend, IsNamedAfterItsTarget) {
  EXPECT_EQ(MakeCpuBackend("generic")->name(), "cpu/generic");
  EXPECT_EQ(MakeCpuBackend("")->name(), "cpu/" + std::string(CpuTargets().front()));
  EXPECT_EQ(CpuTargets().back(), "generic");
  EXPECT_EQ(MakeCpuBackend("pentium"), nullptr);
}

TEST(CpuBackend, StaggersLargeBuffers) {
  auto backend = MakeCpuBackend();
  std::vector<std::unique_ptr<Buffer>> buffers;
  for (int i = 0; i < 4; ++i) buffers.push_back(backend->Allocate(size_t{4} << 20));
  for (size_t i = 0; i < buffers.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      const size_t distance = buffers[i]->host() - buffers[j]->host();
      EXPECT_NE(distance % 4096, 0u) << i << " and " << j << " share every cache set";
    }
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffers[i]->host()) % 64, 0u);
  }
}

TEST(CudaBackend, SaysWhyItIsNotThere) {
  std::string error;
  EXPECT_EQ(MakeCudaBackend(99, &error), nullptr);
  EXPECT_NE(error, "");
}

}  // namespace
}  // namespace stepback::kernels::testing

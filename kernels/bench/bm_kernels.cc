// Bytes per second of commits and folds by rule, codec and CPU target, beside a memcpy line of the same run:
// the limit to divide by. Arrays lie either staggered, as the allocators lay them, or a power of two apart,
// where same-index elements fight for the same cache sets (the case the stagger is for). One thread; bytes
// are those of the roofline (performance.md 2.1): every array read or written once.
//
//   bm_kernels --benchmark_filter='avx2/(nesterov|adam)|memcpy' --benchmark_repetitions=5
//   BM_KERNELS_FLOATS=67108864 bm_kernels      arrays of another length (default 16 Mi floats)
#include <benchmark/benchmark.h>

#include <bit>
#include <cstdlib>
#include <cstring>
#include <string>

#include "kernels/backend.h"

namespace stepback::kernels {
namespace {

size_t FloatsPerArray() {
  const char* const given = std::getenv("BM_KERNELS_FLOATS");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : size_t{16} << 20;
}

// Hands out arrays exactly a power of two apart, from one block.
class PowerOfTwoAllocator final : public HostAllocator {
 public:
  explicit PowerOfTwoAllocator(size_t array_bytes)
      : spacing_(std::bit_ceil(array_bytes)),
        base_(static_cast<std::byte*>(std::aligned_alloc(spacing_, kArrays * spacing_))) {}
  ~PowerOfTwoAllocator() { std::free(base_); }
  std::byte* Allocate(size_t bytes) noexcept override {
    return base_ != nullptr && bytes <= spacing_ && used_ < kArrays ? base_ + used_++ * spacing_ : nullptr;
  }
  void Free(std::byte*, size_t) noexcept override {}

 private:
  static constexpr size_t kArrays = 10;
  const size_t spacing_;
  std::byte* const base_;
  size_t used_ = 0;
};

enum class Layout { kStaggered, kPowerOfTwo };

// A one-tensor model whose running sum becomes the next weights, as in the server.
class Model {
 public:
  Model(std::string_view target, const RuleInfo& rule, Layout layout)
      : floats_(FloatsPerArray()),
        aligned_(floats_ * sizeof(float)),
        backend_(MakeCpuBackend(target, layout == Layout::kPowerOfTwo ? &aligned_ : nullptr)) {
    std::vector<double> hypers;
    for (const HyperInfo& hyper : rule.hypers) hypers.push_back(hyper.default_value);
    double carry[kMaxCarry] = {1, 1, 1, 1};
    scalars_.resize(rule.scalars_bytes);
    rule.prepare(hypers, 1, carry, scalars_.data());
    const bool inner = rule.kind == RuleKind::kInner;
    step_ = {.count = floats_,
             .action = TensorAction::kTrained,
             .inner_rule = inner ? rule.id : -1,
             .inner_used_slots = rule.used_slots(hypers),
             .inner_reduces = rule.sums > 0 && rule.reduces(hypers),
             .shape = shape_};
    Buffer* const sum = Make();
    plan_.acc = sum;
    plan_.outer_rule = inner ? -1 : rule.id;
    (inner ? plan_.theta : plan_.phi) = Make();
    (inner ? plan_.theta_next : plan_.phi_next) = sum;
    for (size_t i = 0; i < rule.slots.size(); ++i) {
      if ((rule.used_slots(hypers) >> i & 1) == 0) continue;
      (inner ? plan_.inner_slots : plan_.outer_slots)[i] = Make();
      (inner ? plan_.inner_slots_next : plan_.outer_slots_next)[i] = Make();
    }
    plan_.tensors = {&step_, 1};
    plan_.scalars = scalars_;
  }

  bool complete() const { return complete_; }
  size_t floats() const { return floats_; }
  void Commit(bool norms) {
    plan_.want_norms = norms;
    benchmark::DoNotOptimize(backend_->Commit(plan_, &executor_));
  }

 private:
  Buffer* Make() {
    auto buffer = backend_->Allocate(floats_ * sizeof(float));
    complete_ = complete_ && buffer != nullptr;
    if (buffer != nullptr) backend_->Fill(buffer.get(), 0.5f);
    buffers_.push_back(std::move(buffer));
    return buffers_.back().get();
  }

  const size_t floats_;
  PowerOfTwoAllocator aligned_;
  std::unique_ptr<Backend> backend_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<std::byte> scalars_;
  InlineExecutor executor_;
  const uint64_t shape_[2] = {64, floats_ / 64};  // flat, or matrix products would be all that is measured
  TensorStep step_;
  CommitPlan plan_;
  bool complete_ = true;
};

void SetRate(benchmark::State& state, double bytes_per_iteration) {
  state.counters["bytes_per_second"] = benchmark::Counter(
      bytes_per_iteration, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
}

void Memcpy(benchmark::State& state) {
  const size_t bytes = FloatsPerArray() * sizeof(float);
  auto backend = MakeCpuBackend();
  auto from = backend->Allocate(bytes), to = backend->Allocate(bytes);
  backend->Fill(from.get(), 0.5f);
  backend->Fill(to.get(), 0.5f);
  for (auto _ : state) {
    std::memcpy(to->host(), from->host(), bytes);
    benchmark::ClobberMemory();
  }
  SetRate(state, 2.0 * static_cast<double>(bytes));
}

void CommitRule(benchmark::State& state, std::string_view target, const RuleInfo& rule, Layout layout,
                bool norms) {
  Model model(target, rule, layout);
  if (!model.complete()) return state.SkipWithError("not enough memory");
  for (auto _ : state) model.Commit(norms);
  SetRate(state, static_cast<double>(rule.bytes_per_parameter) * static_cast<double>(model.floats()));
}

// A contribution of 64 KiB slices cut at odd bytes, as gRPC hands them out.
EncodedView Cut(const std::vector<std::byte>& bytes) {
  constexpr size_t kSlice = 65531;
  EncodedView view;
  for (size_t at = 0; at < bytes.size(); at += kSlice) {
    view.Append({bytes.data() + at, std::min(kSlice, bytes.size() - at)});
  }
  return view;
}

void FoldCodec(benchmark::State& state, std::string_view target, const CodecInfo& codec, Accumulate type,
               bool first) {
  const size_t floats = FloatsPerArray();
  auto backend = MakeCpuBackend(target);
  const size_t element = type == Accumulate::kF32 ? sizeof(float) : sizeof(double);
  auto acc = backend->Allocate(floats * element);
  const std::vector<float> values(floats, 0.25f);
  std::vector<std::byte> bytes(codec.encoded_bytes(floats));
  codec.encode(values.data(), floats, bytes.data());
  const EncodedView view = Cut(bytes);
  const Fold fold = {.codec = codec.id, .count = floats, .first = first};
  InlineExecutor executor;
  backend->Zero(acc.get());
  for (auto _ : state) backend->FoldInto(acc.get(), type, view, {&fold, 1}, 1.0, &executor);
  const double moved = static_cast<double>(element) * (first ? 1 : 2) * static_cast<double>(floats);
  SetRate(state, moved + static_cast<double>(bytes.size()));
}

void SampleAverage(benchmark::State& state, std::string_view target, const RuleInfo& rule) {
  const auto backend = MakeCpuBackend(target);
  const size_t floats = FloatsPerArray();
  const auto phi = backend->Allocate(floats * sizeof(float)), average = backend->Allocate(phi->bytes()),
             next = backend->Allocate(phi->bytes());
  backend->Fill(phi.get(), 0.25f);
  backend->Fill(average.get(), 0.5f);
  double carry[kMaxCarry] = {1, 1, 1, 1};
  alignas(16) std::byte scalars[kMaxAverageScalarsBytes];
  std::vector<double> hypers;
  for (const HyperInfo& hyper : rule.hypers) hypers.push_back(hyper.default_value);
  for (int sample = 1; sample <= 3; ++sample) rule.prepare(hypers, sample, carry, scalars);
  const AverageRun run = {.begin = 0, .count = floats};
  InlineExecutor executor;
  for (auto _ : state) {
    backend->Average({.rule = rule.id,
                      .scalars = {scalars, rule.scalars_bytes},
                      .runs = {&run, 1},
                      .phi = phi.get(),
                      .average = average.get(),
                      .next = next.get()},
                     &executor);
  }
  SetRate(state, static_cast<double>(rule.bytes_per_parameter) * static_cast<double>(floats));
}

void EncodeCodec(benchmark::State& state, const CodecInfo& codec) {
  const std::vector<float> values(FloatsPerArray(), 0.25f);
  std::vector<std::byte> bytes(codec.encoded_bytes(values.size()));
  for (auto _ : state) {
    codec.encode(values.data(), values.size(), bytes.data());
    benchmark::ClobberMemory();
  }
  SetRate(state, static_cast<double>(values.size() * sizeof(float) + bytes.size()));
}

void ScanCodec(benchmark::State& state, const CodecInfo& codec) {
  const std::vector<float> values(FloatsPerArray(), 0.25f);
  std::vector<std::byte> bytes(codec.encoded_bytes(values.size()));
  codec.encode(values.data(), values.size(), bytes.data());
  for (auto _ : state) benchmark::DoNotOptimize(codec.all_finite(bytes.data(), values.size()));
  SetRate(state, static_cast<double>(bytes.size()));
}

template <class Call>
void Register(const std::string& name, Call call) {
  benchmark::RegisterBenchmark(name.c_str(), call)->UseRealTime()->Unit(benchmark::kMillisecond);
}

void RegisterRule(std::string_view target, const RuleInfo& rule) {
  const std::string name = std::string(target) + "/" + std::string(rule.name);
  const auto add = [&](const char* suffix, Layout layout, bool norms) {
    Register(name + suffix,
             [=, &rule](benchmark::State& state) { CommitRule(state, target, rule, layout, norms); });
  };
  add("", Layout::kStaggered, false);
  add("/norms", Layout::kStaggered, true);
  // Whole tensors want memory of their own, which that layout has not.
  if (!rule.whole_tensor) add("/power_of_two", Layout::kPowerOfTwo, false);
}

void RegisterCodec(std::string_view target, const CodecInfo& codec) {
  const std::string name = std::string(target) + "/fold_" + std::string(codec.name);
  const auto add = [&](const char* suffix, Accumulate type, bool first) {
    Register(name + suffix,
             [=, &codec](benchmark::State& state) { FoldCodec(state, target, codec, type, first); });
  };
  add("", Accumulate::kF32, false);
  add("/first", Accumulate::kF32, true);
  add("/f64", Accumulate::kF64, false);
}

void RegisterAll() {
  Register("memcpy", Memcpy);
  for (const std::string_view target : CpuTargets()) {
    for (const RuleInfo& rule : InnerRules()) RegisterRule(target, rule);
    for (const RuleInfo& rule : OuterRules()) RegisterRule(target, rule);
    for (const RuleInfo& rule : AverageRules()) {
      if (rule.history != nullptr) continue;  // has no pass
      Register(std::string(target) + "/" + std::string(rule.name),
               [=, &rule](benchmark::State& state) { SampleAverage(state, target, rule); });
    }
    for (const CodecInfo& codec : Codecs()) RegisterCodec(target, codec);
  }
  for (const CodecInfo& codec : Codecs()) {
    Register("encode_" + std::string(codec.name),
             [&](benchmark::State& state) { EncodeCodec(state, codec); });
    Register("scan_" + std::string(codec.name), [&](benchmark::State& state) { ScanCodec(state, codec); });
  }
}

}  // namespace
}  // namespace stepback::kernels

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  stepback::kernels::RegisterAll();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

// gpu_check [--quick]: is the CUDA back-end of this machine right, and how fast is it?
// First every rule, codec, input form and shape against the CPU back-end, bit for bit; then one commit per
// rule on a large arena against a copy within the device, measured in the same process. Prints one table
// each; exits 1 when a bit differs, 77 when there is no device. --quick: comparison only, fewer scenarios
// (for compute-sanitizer).
#include <cstdio>
#include <cstring>
#include <string>

#include "kernels/cuda/check/device_timer.h"
#include "tests/conformance/scenario.h"
#include "tests/conformance/trainer.h"

namespace stepback::kernels {
namespace {

using cuda::CopyBytesPerSecond;
using cuda::DeviceName;
using cuda::MedianSeconds;
using testing::BusyHypers;
using testing::DifferenceOf;
using testing::Input;
using testing::RandomScenario;
using testing::RulesOf;
using testing::RunOn;
using testing::RunsOn;
using testing::Scenario;

constexpr const char* kInputs[] = {"f32 sum", "f64 sum", "staged"};

// --- bits ---

// A scenario in which this rule runs on every trained tensor.
Scenario ScenarioOf(const Backend& gpu, const RuleInfo& rule, Input input, uint32_t seed) {
  for (;; seed += 1000) {
    std::mt19937 random(seed);
    Scenario s = RandomScenario(random);
    if (!RunsOn(gpu, s)) continue;
    const bool inner = rule.kind == RuleKind::kInner;
    bool found = inner ? false : s.outer_rule == rule.id;
    for (const auto& tensor : s.tensors)
      found = found || (inner && s.gradient && tensor.inner_rule == rule.id);
    if (!found || s.input != input) continue;
    return s;
  }
}

// The first difference between CPU and device over `count` scenarios, or "".
std::string CompareRule(Backend& cpu, Backend& gpu, const RuleInfo& rule, Input input, int count) {
  InlineExecutor executor;
  for (int i = 0; i < count; ++i) {
    const Scenario s = ScenarioOf(gpu, rule, input, static_cast<uint32_t>(i));
    const std::string difference = DifferenceOf(RunOn(cpu, &executor, s), RunOn(gpu, &executor, s));
    if (!difference.empty()) return "scenario " + std::to_string(i) + ": " + difference;
  }
  return "";
}

bool CompareAll(Backend& cpu, Backend& gpu, int count) {
  std::printf("\n%s and %s, %d random scenarios each (shapes, codecs, slices, roles, policies)\n",
              std::string(cpu.name()).c_str(), std::string(gpu.name()).c_str(), count);
  bool same = true;
  for (const RuleInfo* rule : RulesOf(gpu)) {
    std::printf("  %-14s", std::string(rule->name).c_str());
    for (int input = 0; input < 3; ++input) {
      const std::string difference = CompareRule(cpu, gpu, *rule, static_cast<Input>(input), count);
      std::printf("  %s: %s", kInputs[input], difference.empty() ? "same bits" : difference.c_str());
      same = same && difference.empty();
    }
    std::printf("\n");
  }
  return same;
}

// --- speed ---

// The arrays of a one-tensor model on a device, filled with something harmless.
struct Model {
  Model(Backend& gpu, const RuleInfo& rule, size_t count) {
    const size_t bytes = count * sizeof(float);
    const auto make = [&] {
      auto buffer = gpu.Allocate(bytes);
      if (buffer != nullptr) gpu.Fill(buffer.get(), 0.5f);
      complete = complete && buffer != nullptr;
      buffers.push_back(std::move(buffer));
      return buffers.back().get();
    };
    const auto hypers = testing::DefaultHypers(rule);
    scalars.resize(rule.scalars_bytes);
    double carry[kMaxCarry] = {1, 1, 1, 1};
    rule.prepare(hypers, 1, carry, scalars.data());
    const bool inner = rule.kind == RuleKind::kInner;
    step = {.count = count,
            .action = TensorAction::kTrained,
            .inner_rule = inner ? rule.id : -1,
            .inner_used_slots = rule.used_slots(hypers),
            .inner_reduces = rule.sums > 0 && rule.reduces(hypers)};
    plan.outer_rule = inner ? -1 : rule.id;
    plan.acc = make();
    (inner ? plan.theta : plan.phi) = make();
    (inner ? plan.theta_next : plan.phi_next) = make();
    for (size_t i = 0; i < rule.slots.size(); ++i) {
      if ((rule.used_slots(hypers) >> i & 1) == 0) continue;
      (inner ? plan.inner_slots : plan.outer_slots)[i] = make();
      (inner ? plan.inner_slots_next : plan.outer_slots_next)[i] = make();
    }
    plan.tensors = {&step, 1};
    plan.scalars = scalars;
  }

  bool complete = true;
  CommitPlan plan;
  TensorStep step;
  std::vector<std::byte> scalars;
  std::vector<std::unique_ptr<Buffer>> buffers;
};

void MeasureRule(Backend& gpu, const RuleInfo& rule, size_t count, double copy_rate) {
  InlineExecutor executor;
  Model model(gpu, rule, count);
  if (!model.complete) {
    std::printf("  %-14s  not enough device memory\n", std::string(rule.name).c_str());
    return;
  }
  double rates[2];
  for (const bool norms : {false, true}) {
    model.plan.want_norms = norms;
    const double seconds = MedianSeconds([&] { gpu.Commit(model.plan, &executor); }, 20, 50);
    rates[norms] = static_cast<double>(rule.bytes_per_parameter) * static_cast<double>(count) / seconds;
  }
  std::printf("  %-14s %3d B/parameter  %8.1f GB/s  %5.1f %% of copy   with norms %8.1f GB/s  %5.1f %%\n",
              std::string(rule.name).c_str(), rule.bytes_per_parameter, rates[0] * 1e-9,
              100 * rates[0] / copy_rate, rates[1] * 1e-9, 100 * rates[1] / copy_rate);
}

void MeasureFold(Backend& gpu, const CodecInfo& codec, size_t count) {
  InlineExecutor executor;
  auto acc = gpu.Allocate(count * sizeof(float));
  const std::vector<float> values(count, 0.25f);
  const std::vector<std::byte> bytes = testing::Encode(codec.id, values);
  const EncodedView view({{bytes.data(), bytes.size()}});
  const Fold fold = {.codec = codec.id, .count = count, .first = true};
  const double seconds = MedianSeconds(
      [&] {
        gpu.FoldInto(acc.get(), Accumulate::kF32, view, {&fold, 1}, 1.0, &executor);
      },
      3, 11);
  std::printf("  fold %-9s %8.1f GB/s of wire bytes, host memory to running sum\n",
              std::string(codec.name).c_str(), static_cast<double>(bytes.size()) / seconds * 1e-9);
}

void MeasureAll(Backend& gpu) {
  constexpr size_t kCount = 64 << 20;
  const double copy_rate = CopyBytesPerSecond(kCount * sizeof(float));
  std::printf("\nCommits of %zu parameters; copy within the device %.1f GB/s (read + written)\n", kCount,
              copy_rate * 1e-9);
  for (const RuleInfo* rule : RulesOf(gpu)) MeasureRule(gpu, *rule, kCount, copy_rate);
  for (const CodecInfo& codec : Codecs()) MeasureFold(gpu, codec, kCount);
}

int Main(bool quick) {
  std::string error;
  const auto gpu = MakeCudaBackend(0, &error);
  if (gpu == nullptr) {
    std::printf("SKIPPED: %s\n", error.c_str());
    return 77;
  }
  const auto cpu = MakeCpuBackend();
  std::printf("Device 0: %s\n", DeviceName(0).c_str());
  const bool same = CompareAll(*cpu, *gpu, quick ? 5 : 200);
  if (!quick) MeasureAll(*gpu);
  std::printf("\n%s\n", same ? "CPU and CUDA agree bit for bit" : "CPU and CUDA DIFFER");
  return same ? 0 : 1;
}

}  // namespace
}  // namespace stepback::kernels

int main(int argc, char** argv) {
  return stepback::kernels::Main(argc > 1 && std::strcmp(argv[1], "--quick") == 0);
}

#include "tests/unit/core_support.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "server/base/check.h"
#include "server/core/layout.h"
#include "server/core/spec_check.h"

namespace stepback::core_test {
namespace {

Payload Cut(std::string bytes, std::mt19937_64* random) {
  auto owner = std::make_shared<const std::string>(std::move(bytes));
  Payload payload;
  for (size_t done = 0; done < owner->size();) {
    const size_t left = owner->size() - done;
    const size_t size = random == nullptr ? left : std::min<size_t>(left, 1 + (*random)() % 97);
    payload.Append({reinterpret_cast<const std::byte*>(owner->data()) + done, size}, owner);
    done += size;
  }
  return payload;
}

bool Pushed(const TensorSpec& tensor, const TensorData& data) {
  return tensor.role != Role::kFrozen && data.present;
}

}  // namespace

TensorSpec Trained(const std::string& name, std::vector<uint64_t> shape) {
  return {.name = name, .shape = std::move(shape)};
}

RuleSpec Rule(const std::string& name, std::map<std::string, double> values) {
  return {.name = name, .values = std::move(values)};
}

ModelSpec DeltaSpec(uint64_t elements, RuleSpec outer) {
  ModelSpec spec;
  spec.name = "m";
  spec.tensors = {Trained("w", {elements})};
  spec.outer = std::move(outer);
  return WithDefaults(spec);
}

ModelSpec GradientSpec(uint64_t elements, RuleSpec inner, RuleSpec outer, uint32_t sync_period) {
  ModelSpec spec = DeltaSpec(elements, std::move(outer));
  spec.mode = Mode::kGradient;
  spec.inner = std::move(inner);
  spec.sync_period = sync_period;
  return spec;
}

std::vector<uint8_t> PresentOf(const ModelSpec& spec, const PushData& data) {
  std::vector<uint8_t> present((data.size() + 7) / 8, 0);
  bool all = true;
  for (size_t t = 0; t < data.size(); ++t) {
    if (Pushed(spec.tensors[t], data[t])) present[t / 8] |= uint8_t(1 << t % 8);
    all = all && data[t].present;
  }
  return all ? std::vector<uint8_t>() : present;
}

Payload Encode(const ModelSpec& spec, const PushData& data, const std::string& codec,
               std::mt19937_64* random) {
  const kernels::CodecInfo& form = *kernels::FindCodec(codec);
  std::string bytes;
  for (size_t t = 0; t < data.size(); ++t) {
    if (!Pushed(spec.tensors[t], data[t])) continue;
    if (spec.tensors[t].role == Role::kCarried) {
      bytes += data[t].bytes;
      continue;
    }
    const size_t begin = bytes.size();
    bytes.resize(begin + form.encoded_bytes(data[t].floats.size()));
    form.encode(data[t].floats.data(), data[t].floats.size(),
                reinterpret_cast<std::byte*>(bytes.data() + begin));
  }
  return Cut(std::move(bytes), random);
}

std::string Bytes(const Payload& payload) {
  std::string bytes(payload.size(), '\0');
  auto* to = reinterpret_cast<std::byte*>(bytes.data());
  const std::byte* from = payload.view().Read(0, bytes.size(), to);
  if (from != to) std::memcpy(to, from, bytes.size());
  return bytes;
}

PushData OneTensor(Floats floats) { return {TensorData{.floats = std::move(floats)}}; }

Floats Read(const ModelVersion& version, const Array& array, size_t tensor) {
  const TensorPlace& place = version.layout->tensors()[tensor];
  const float* begin = array->host_floats() + place.arena_begin;
  return {begin, begin + place.elements};
}

std::string ReadRaw(const ModelVersion& version, const Array& array, size_t tensor) {
  const TensorPlace& place = version.layout->tensors()[tensor];
  return {reinterpret_cast<const char*>(array->host_floats() + place.arena_begin), place.raw_bytes};
}

std::string Bits(const Array& array) {
  if (array == nullptr) return "-";
  return {reinterpret_cast<const char*>(array->host_floats()), array->bytes()};
}

std::string StateBits(const ModelVersion& version) {
  std::string bits = Bits(version.phi) + Bits(version.theta);
  for (const auto* slots : {&version.inner_slots, &version.outer_slots, &version.caches}) {
    for (const Array& slot : *slots) bits += Bits(slot);
  }
  for (const AverageState& average : version.averages) {
    bits += Bits(average.value) + std::to_string(average.samples);
    bits.append(reinterpret_cast<const char*>(average.carry), sizeof average.carry);
    for (const Array& iterate : average.iterates.arrays) bits += Bits(iterate);
    for (const Array& delta : average.iterates.deltas) bits += Bits(delta);
    bits.append(reinterpret_cast<const char*>(average.iterates.products.data()),
                average.iterates.products.size() * sizeof(double));
  }
  for (const uint64_t n : {version.version.counter, version.sync_phase, version.inner_steps,
                           version.outer_steps, version.samples}) {
    bits += std::to_string(n) + ",";
  }
  bits.append(reinterpret_cast<const char*>(version.counters->data()),
              version.counters->size() * sizeof(TensorCounters));
  for (const FragmentState& fragment : version.fragments) {
    for (const uint64_t n :
         {fragment.version.counter, fragment.outer_steps, fragment.inner_steps, fragment.samples})
      bits += std::to_string(n) + ",";
  }
  return bits;
}

std::unique_ptr<kernels::Buffer> Arena(kernels::Backend* backend, const ModelSpec& spec,
                                       const PushData& weights) {
  const auto layout = *Layout::Make(spec.tensors);
  Floats arena(layout->arena_floats(), 0.0f);
  for (size_t t = 0; t < weights.size(); ++t) {
    float* to = arena.data() + layout->tensors()[t].arena_begin;
    const TensorData& data = weights[t];
    if (spec.tensors[t].role == Role::kCarried) {
      std::memcpy(to, data.bytes.data(), data.bytes.size());
    } else if (!data.floats.empty()) {
      std::memcpy(to, data.floats.data(), data.floats.size() * sizeof(float));
    }
  }
  auto buffer = backend->Allocate(arena.size() * sizeof(float));
  const auto* const bytes = reinterpret_cast<const std::byte*>(arena.data());
  SB_CHECK(backend->Upload(buffer.get(), 0, bytes, buffer->bytes()) == kernels::Status::kOk);
  return buffer;
}

TestOptions TestModel::Defaults(TestOptions options) {
  if (options.backend == nullptr) {
    own_backend_ = kernels::MakeCpuBackend();
    options.backend = own_backend_.get();
  }
  if (options.executor == nullptr) options.executor = &inline_;
  return options;
}

TestModel::TestModel(ModelSpec spec, const PushData& weights, const TestOptions& options) {
  const TestOptions use = Defaults(options);
  const absl::Status valid = ValidateSpec(spec);
  SB_CHECK(valid.ok(), "%s", std::string(valid.message()).c_str());
  auto shared = std::make_shared<const ModelSpec>(std::move(spec));
  auto layout = *Layout::Make(shared->tensors, shared->fragments);
  auto model =
      Model::Create(shared, layout, Arena(use.backend, *shared, weights), {use.backend, use.executor});
  SB_CHECK(model.ok(), "%s", std::string(model.status().message()).c_str());
  model_ = *std::move(model);
}

TestModel::TestModel(std::shared_ptr<const ModelVersion> image, uint64_t term, const TestOptions& options) {
  const TestOptions use = Defaults(options);
  auto model = Model::FromImage(std::move(image), term, {use.backend, use.executor});
  SB_CHECK(model.ok(), "%s", std::string(model.status().message()).c_str());
  model_ = *std::move(model);
}

void TestModel::Join(const std::string& client, SessionRole role) {
  const auto opened = model_->Open({.client_id = client, .role = role}, now);
  SB_CHECK(opened.ok(), "%s", std::string(opened.status().message()).c_str());
  epochs[client] = opened->epoch;
  sequences[client] = opened->last_sequence;
}

Push TestModel::Next(const std::string& client, const PushData& data, const std::string& codec) {
  Push push;
  push.header.client_id = client;
  push.header.epoch = epochs[client];
  push.header.sequence = ++sequences[client];
  push.header.kind = spec().mode == Mode::kGradient ? PushKind::kGradient : PushKind::kDelta;
  push.header.base = version().version;
  push.header.codec = kernels::FindCodec(codec)->id;
  push.header.present = PresentOf(spec(), data);
  push.payload = Encode(spec(), data, codec);
  return push;
}

PushAnswer TestModel::Answer(Push push) {
  Effects effects = Apply(std::move(push));
  EXPECT_EQ(effects.answers.size(), 1u);
  return effects.answers.empty() ? PushAnswer() : effects.answers.front().answer;
}

Floats RandomFloats(std::mt19937_64* random, size_t count, float scale) {
  std::normal_distribution<float> normal(0, scale);
  Floats floats(count);
  for (float& x : floats) x = normal(*random);
  return floats;
}

uint64_t Seed() {
  const char* given = std::getenv("STEPBACK_TEST_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : 20261123;
}

}  // namespace stepback::core_test

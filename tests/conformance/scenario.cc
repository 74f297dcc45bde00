#include "tests/conformance/scenario.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>

namespace stepback::kernels::testing {
namespace {

uint64_t Align(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

// The bytes of one worker in wire order, cut into slices of random lengths at any byte, each in memory of its
// own at an odd address.
class Wire {
 public:
  Wire(const Scenario& scenario, const Worker& worker, uint32_t seed) {
    std::mt19937 random(seed);
    Bytes all;
    for (size_t t = 0; t < scenario.tensors.size(); ++t) {
      offsets_.push_back(worker.tensors[t].empty() ? -1 : static_cast<int64_t>(all.size()));
      all.insert(all.end(), worker.tensors[t].begin(), worker.tensors[t].end());
    }
    for (size_t begin = 0; begin < all.size();) {
      const size_t longest = random() % 4 == 0 ? 5 : 3000;
      const size_t size = std::min<size_t>(1 + random() % longest, all.size() - begin);
      const size_t shift = random() % 64;
      slices_.emplace_back(shift + size);
      std::memcpy(slices_.back().data() + shift, all.data() + begin, size);
      spans_.push_back({slices_.back().data() + shift, size});
      begin += size;
    }
    view_ = EncodedView(spans_);
  }
  Wire(const Wire&) = delete;

  const EncodedView& view() const { return view_; }
  const std::vector<int64_t>& offsets() const { return offsets_; }

 private:
  std::vector<Bytes> slices_;
  std::vector<ByteSpan> spans_;
  std::vector<int64_t> offsets_;
  EncodedView view_;
};

// The state of a scenario on a device: current and next buffers by place in State::ForEach.
class DeviceState {
 public:
  DeviceState(Backend& backend, const State& state) : backend_(backend) {
    const_cast<State&>(state).ForEach([&](const std::string&, Floats& array) { Load(array); });
  }

  Buffer* now(size_t i) const { return now_[i].get(); }
  Buffer* next(size_t i) const { return next_[i].get(); }
  void DropNext(size_t i) { next_[i].reset(); }
  std::unique_ptr<Buffer>& next_slot(size_t i) { return next_[i]; }

  State Download() {
    State state;
    size_t i = 0;
    state.ForEach([&](const std::string&, Floats& array) {
      if (const Buffer* buffer = next_[i++].get()) array = Read(*buffer);
    });
    return state;
  }

 private:
  void Load(const Floats& array) {
    const size_t bytes = array.size() * sizeof(float);
    now_.push_back(array.empty() ? nullptr : backend_.Allocate(bytes));
    next_.push_back(array.empty() ? nullptr : backend_.Allocate(bytes));
    if (array.empty()) return;
    backend_.Upload(now_.back().get(), 0, reinterpret_cast<const std::byte*>(array.data()), bytes);
    backend_.Fill(next_.back().get(), 12345.0f);  // pads must be written too
  }

  Floats Read(const Buffer& buffer) {
    Floats values(buffer.bytes() / sizeof(float));
    backend_.Download(buffer, 0, reinterpret_cast<std::byte*>(values.data()), buffer.bytes());
    return values;
  }

  Backend& backend_;
  std::vector<std::unique_ptr<Buffer>> now_, next_;
};

constexpr size_t kTheta = 0, kPhi = 1, kInner = 2, kOuter = kInner + kMaxSlots, kCaches = kOuter + kMaxSlots;

std::vector<TensorStep> Steps(const Scenario& s) {
  std::vector<TensorStep> steps;
  const auto begins = s.Begins();
  for (size_t t = 0; t < s.tensors.size(); ++t) {
    const TensorCase& tensor = s.tensors[t];
    steps.push_back({.arena_begin = begins[t],
                     .count = tensor.count,
                     .carried_bytes = tensor.carried_bytes,
                     .action = tensor.action,
                     .divisor = s.DivisorOf(t),
                     .inner_rule = tensor.inner_rule,
                     .inner_used_slots = s.inner_used_slots[t],
                     .inner_reduces = s.inner_reduces[t] != 0,
                     .shape = tensor.shape,
                     .inner_scalars = s.inner_scalars[t],
                     .outer_scalars = s.outer_scalars});
  }
  return steps;
}

// Folds of one worker, every tensor cut once so that runs start in the middle of tensors too.
std::vector<Fold> Folds(const Scenario& s, const Worker& worker, const Wire& wire,
                        std::vector<uint8_t>* seen) {
  std::vector<Fold> folds;
  const auto begins = s.Begins();
  for (size_t t = 0; t < s.tensors.size(); ++t) {
    if (wire.offsets()[t] < 0) continue;
    const bool raw = s.tensors[t].carried_bytes > 0;
    const uint64_t total = raw ? s.tensors[t].carried_bytes : s.tensors[t].count;
    const CodecInfo& codec = Codecs()[worker.codec];
    const uint64_t granule = raw ? sizeof(float) : codec.block_elements;
    const uint64_t half = total / 2 / granule * granule;
    for (const auto& [begin, end] : {std::pair(uint64_t{0}, half), std::pair(half, total)}) {
      if (begin == end) continue;
      folds.push_back({.codec = worker.codec,
                       .byte_offset = wire.offsets()[t] + (raw ? begin : codec.encoded_bytes(begin)),
                       .arena_begin = begins[t] + (raw ? begin / sizeof(float) : begin),
                       .count = end - begin,
                       .first = !(*seen)[t],
                       .raw = raw});
    }
    (*seen)[t] = 1;
  }
  return folds;
}

void SetArrays(const DeviceState& device, CommitPlan* plan) {
  plan->theta = device.now(kTheta);
  plan->theta_next = device.next(kTheta);
  plan->phi = device.now(kPhi);
  plan->phi_next = device.next(kPhi);
  for (size_t i = 0; i < kMaxSlots; ++i) {
    plan->inner_slots[i] = device.now(kInner + i);
    plan->inner_slots_next[i] = device.next(kInner + i);
    plan->outer_slots[i] = device.now(kOuter + i);
    plan->outer_slots_next[i] = device.next(kOuter + i);
    plan->caches[i] = device.now(kCaches + i);
    plan->caches_next[i] = device.next(kCaches + i);
  }
}

bool SameBits(const Floats& a, const Floats& b, size_t* where) {
  if (a.size() != b.size()) return *where = std::min(a.size(), b.size()), false;
  for (size_t i = 0; i < a.size(); ++i) {
    const bool both_nan = a[i] != a[i] && b[i] != b[i];
    if (std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i]) && !both_nan) return *where = i, false;
  }
  return true;
}

std::string Compare(const std::string& name, double a, double b) {
  if (std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b) || (a != a && b != b)) return "";
  return name + ": " + std::to_string(a) + " and " + std::to_string(b) + "; ";
}

}  // namespace

std::vector<uint64_t> Scenario::Begins() const {
  std::vector<uint64_t> begins;
  uint64_t at = 0;
  for (const TensorCase& tensor : tensors) {
    begins.push_back(at);
    at = Align(at + tensor.count, kArenaAlignFloats);
  }
  return begins;
}

uint64_t Scenario::arena_floats() const {
  uint64_t at = 0;
  for (const TensorCase& tensor : tensors) at = Align(at + tensor.count, kArenaAlignFloats);
  return at;
}

bool Scenario::Has(const Worker& worker, size_t tensor) const {
  return !worker.tensors[tensor].empty() && worker.weight != 0;
}

double Scenario::WeightOf(size_t tensor) const {
  double sum = 0;
  for (const Worker& worker : workers) sum += Has(worker, tensor) ? worker.weight : 0;
  return sum;
}

void Scenario::Prepare() {
  scalars.clear();
  inner_scalars.clear();
  inner_used_slots.clear();
  inner_reduces.clear();
  const auto prepare = [this](const RuleInfo& rule, HyperSpan hypers, int64_t step, double* carry) {
    const size_t at = scalars.size();
    scalars.resize(at + Align(rule.scalars_bytes, 16));
    rule.prepare(hypers, step, carry, scalars.data() + at);
    return at;
  };
  for (TensorCase& tensor : tensors) {
    if (tensor.shape.empty()) tensor.shape = MatrixShape(tensor.count);
    const RuleInfo* rule = tensor.inner_rule >= 0 ? &InnerRules()[tensor.inner_rule] : nullptr;
    inner_scalars.push_back(rule ? prepare(*rule, tensor.inner_hypers, tensor.step, tensor.carry.data()) : 0);
    inner_used_slots.push_back(rule ? rule->used_slots(tensor.inner_hypers) : 0);
    inner_reduces.push_back(rule && rule->sums > 0 && rule->reduces(tensor.inner_hypers));
  }
  if (outer_rule >= 0) {
    outer_scalars = prepare(OuterRules()[outer_rule], outer_hypers, outer_step, outer_carry.data());
  }
}

Outcome RunOn(Backend& backend, Executor* executor, const Scenario& s) {
  DeviceState device(backend, s.state);
  if (s.sync()) device.DropNext(kTheta);  // theta becomes phi
  CommitPlan plan;
  const auto steps = Steps(s);
  std::vector<uint8_t> merges;
  for (const TensorCase& tensor : s.tensors) merges.push_back(tensor.merges);
  plan.tensors = steps;
  plan.scalars = s.scalars;
  plan.outer_rule = s.outer_rule;
  plan.merges = merges;
  plan.policy = s.policy;
  plan.pullback_alpha = s.pullback_alpha;
  plan.clip = s.clip;
  plan.weights = s.weights;
  std::unique_ptr<Buffer> base;
  if (!s.base.empty()) {
    base = backend.Allocate(s.base.size() * sizeof(float));
    backend.Upload(base.get(), 0, reinterpret_cast<const std::byte*>(s.base.data()), base->bytes());
    plan.base = base.get();
    plan.delay_lambda = s.delay_lambda;
  }
  plan.want_norms = true;
  SetArrays(device, &plan);

  std::vector<std::unique_ptr<Wire>> wires;
  for (const Worker& worker : s.workers) {
    wires.push_back(std::make_unique<Wire>(s, worker, s.cuts_seed + static_cast<uint32_t>(wires.size())));
  }
  std::vector<Contribution> staged;
  std::unique_ptr<Buffer> sum;
  Outcome outcome;
  if (s.input == Input::kStaged) {
    for (size_t i = 0; i < s.workers.size(); ++i) {
      staged.push_back({s.workers[i].codec, s.workers[i].weight, &wires[i]->view(), wires[i]->offsets()});
    }
    plan.staged = staged;
  } else {
    const bool wide = s.input == Input::kRunningF64;
    const size_t bytes = s.arena_floats() * (wide ? sizeof(double) : sizeof(float));
    Buffer* const next_weights = plan.phi_next != nullptr ? plan.phi_next : plan.theta_next;
    if (!s.sum_is_next || wide) sum = backend.Allocate(bytes);
    Buffer* const acc = sum != nullptr ? sum.get() : next_weights;
    backend.Zero(acc);
    plan.acc = acc;
    plan.acc_type = wide ? Accumulate::kF64 : Accumulate::kF32;
    std::vector<uint8_t> seen(s.tensors.size(), 0);
    for (size_t i = 0; i < s.workers.size(); ++i) {
      if (s.workers[i].weight == 0) continue;
      const auto folds = Folds(s, s.workers[i], *wires[i], &seen);
      outcome.result.status =
          backend.FoldInto(acc, plan.acc_type, wires[i]->view(), folds, s.workers[i].weight, executor);
      if (outcome.result.status != Status::kOk) return outcome;
    }
  }
  std::unique_ptr<Buffer> delta;
  if (s.has_outer_step()) {
    delta = backend.Allocate(s.arena_floats() * sizeof(float));
    backend.Fill(delta.get(), 12345.0f);  // what a pass leaves unwritten shows
    plan.delta_next = delta.get();
  }
  outcome.result = backend.Commit(plan, executor);
  outcome.next = device.Download();
  if (delta != nullptr) {
    outcome.delta.resize(s.arena_floats());
    backend.Download(*delta, 0, reinterpret_cast<std::byte*>(outcome.delta.data()), delta->bytes());
  }
  return outcome;
}

std::string DifferenceOf(Outcome a, Outcome b) {
  std::string out;
  std::vector<std::pair<std::string, Floats*>> arrays;
  a.next.ForEach([&](const std::string& name, Floats& array) { arrays.emplace_back(name, &array); });
  size_t next = 0;
  b.next.ForEach([&](const std::string&, Floats& other) {
    const auto& [name, array] = arrays[next++];
    size_t i = 0;
    if (SameBits(*array, other, &i)) return;
    out += name + "[" + std::to_string(i) + "]: ";
    out += i < array->size() && i < other.size()
               ? std::to_string((*array)[i]) + " and " + std::to_string(other[i]) + "; "
               : std::to_string(array->size()) + " and " + std::to_string(other.size()) + " floats; ";
  });
  if (size_t i = 0; !SameBits(a.delta, b.delta, &i)) out += "delta[" + std::to_string(i) + "]; ";
  if (a.result.status != b.result.status) out += "status; ";
  if (a.result.finite != b.result.finite) out += "finite; ";
  out += Compare("bad_tensor", double(a.result.bad_tensor), double(b.result.bad_tensor));
  out += Compare("input_sq", a.result.input_sq, b.result.input_sq);
  out += Compare("weight_sq", a.result.weight_sq, b.result.weight_sq);
  out += Compare("distance_sq", a.result.distance_sq, b.result.distance_sq);
  out += Compare("merge_share", a.result.merge_share, b.result.merge_share);
  return out;
}

Floats RandomArena(const Scenario& scenario, std::mt19937& random) {
  std::normal_distribution<float> normal;
  Floats arena(scenario.arena_floats(), 0.0f);
  const auto begins = scenario.Begins();
  for (size_t t = 0; t < begins.size(); ++t) {
    for (uint64_t i = 0; i < scenario.tensors[t].count; ++i) arena[begins[t] + i] = normal(random);
  }
  return arena;
}

Bytes Encode(int codec, const Floats& values) {
  Bytes bytes(Codecs()[codec].encoded_bytes(values.size()));
  Codecs()[codec].encode(values.data(), values.size(), bytes.data());
  return bytes;
}

std::vector<double> DefaultHypers(const RuleInfo& rule) {
  std::vector<double> values;
  for (const HyperInfo& hyper : rule.hypers) values.push_back(hyper.default_value);
  return values;
}

// Any values inside the bounds, with zero and the upper end more often than chance gives; rates stay
// moderate.
std::vector<double> RandomHypers(const RuleInfo& rule, std::mt19937& random) {
  std::uniform_real_distribution<double> uniform;
  char error[256];
  for (;;) {
    std::vector<double> values;
    for (const HyperInfo& hyper : rule.hypers) {
      const double top = std::min(hyper.max, 2.0);
      double value = hyper.min + (top - hyper.min) * uniform(random) * 0.999;
      if (random() % 4 == 0 && !hyper.min_open) value = hyper.min;
      if (random() % 8 == 0 && !hyper.max_open) value = top;
      values.push_back(hyper.integer ? std::round(value) : value);
    }
    if (rule.check(values, error, sizeof error)) return values;
  }
}

namespace {

Worker RandomWorker(const Scenario& s, std::mt19937& random) {
  std::normal_distribution<float> normal;
  Worker worker{.codec = static_cast<int>(random() % Codecs().size()),
                .weight = random() % 8 == 0 ? 0 : 1.0 + random() % 5 * 0.75};
  for (const TensorCase& tensor : s.tensors) {
    Floats values(tensor.count);
    for (float& x : values) x = normal(random);
    Bytes bytes = Encode(worker.codec, values);
    if (tensor.carried_bytes > 0) {
      bytes.resize(tensor.carried_bytes);
      for (std::byte& b : bytes) b = static_cast<std::byte>(random());
    }
    if (random() % 5 == 0) bytes.clear();
    worker.tensors.push_back(std::move(bytes));
  }
  return worker;
}

TensorCase RandomTensor(std::mt19937& random) {
  static constexpr uint64_t kCounts[] = {0,  1,  2,   7,    15,   16,   17,   31,  32,
                                         33, 64, 100, 1023, 1024, 1025, 2048, 4200};
  TensorCase tensor{.count = kCounts[random() % std::size(kCounts)]};
  const auto kind = random() % 8;
  if (kind == 0 && tensor.count > 0) {
    tensor.action = TensorAction::kCarried;
    tensor.carried_bytes = tensor.count * sizeof(float) - random() % sizeof(float);
  } else if (kind == 1) {
    tensor.action = TensorAction::kAveraged;
  }
  tensor.merges = tensor.action == TensorAction::kTrained;
  if (tensor.merges && random() % 6 != 0) {
    tensor.inner_rule = static_cast<int>(random() % InnerRules().size());
    tensor.inner_hypers = RandomHypers(InnerRules()[tensor.inner_rule], random);
    tensor.step = 1 + random() % 20;
  }
  return tensor;
}

// Bounds around the size of normal numbers, so that some tensors are clipped and some are not.
Clip RandomClip(std::mt19937& random) {
  const auto bound = [&](double size) { return random() % 3 == 0 ? size * (1 + random() % 100) / 20 : 0; };
  return {.value = bound(0.5), .tensor_norm = bound(10), .global_norm = bound(20)};
}

void RandomState(Scenario* s, std::mt19937& random) {
  const auto positive = [&](Floats array) {
    for (float& x : array) x = x < 0 ? -x : x;  // second moments are never negative
    return array;
  };
  if (s->gradient) s->state.theta = RandomArena(*s, random);
  if (!s->gradient || s->sync()) s->state.phi = RandomArena(*s, random);
  for (int i = 0; s->gradient && i < kMaxSlots; ++i) {
    bool used = false, moment = false;
    for (size_t t = 0; t < s->tensors.size(); ++t) {
      if (s->tensors[t].inner_rule < 0) continue;
      const auto slots = InnerRules()[s->tensors[t].inner_rule].slots;
      used |= i < int(slots.size()) && (s->inner_used_slots[t] >> i & 1) != 0;
      moment |= i < int(slots.size()) && slots[i].first_moment;
    }
    if (used) s->state.inner[i] = positive(RandomArena(*s, random));
    if (used && moment && s->policy == InnerStatePolicy::kPullback)
      s->state.caches[i] = RandomArena(*s, random);
  }
  if (s->outer_rule < 0) return;
  const RuleInfo& rule = OuterRules()[s->outer_rule];
  for (size_t i = 0; i < rule.slots.size(); ++i) {
    if ((rule.used_slots(s->outer_hypers) >> i & 1) != 0)
      s->state.outer[i] = positive(RandomArena(*s, random));
  }
}

}  // namespace

Scenario RandomScenario(std::mt19937& random) {
  Scenario s;
  const size_t tensors = 1 + random() % 8;
  while (s.tensors.size() < tensors || s.arena_floats() == 0) s.tensors.push_back(RandomTensor(random));
  s.gradient = random() % 2 == 0;
  if (!s.gradient || random() % 2 == 0) {
    s.outer_rule = static_cast<int>(random() % OuterRules().size());
    s.outer_hypers = RandomHypers(OuterRules()[s.outer_rule], random);
    s.outer_step = 1 + random() % 20;
  }
  s.input = static_cast<Input>(random() % 3);
  s.sum_is_next = random() % 2 == 0;
  s.policy = s.sync() ? static_cast<InnerStatePolicy>(random() % 3) : InnerStatePolicy::kKeep;
  s.loss_scale = random() % 2 == 0 ? 1.0 : 0.1 + random() % 100;
  s.pullback_alpha = 0.25f * (1 + random() % 4);
  const size_t workers = 1 + random() % 4;
  for (size_t i = 0; i < workers; ++i) s.workers.push_back(RandomWorker(s, random));
  for (size_t t = 0; t < s.tensors.size(); ++t) {
    if (s.WeightOf(t) == 0) s.tensors[t].action = TensorAction::kKeep;  // nobody sent it
  }
  s.cuts_seed = random();
  if (random() % 2 == 0) s.clip = RandomClip(random);
  s.weights = !s.gradient && random() % 3 == 0;
  if (s.weights) s.clip = {};
  s.Prepare();
  RandomState(&s, random);
  if (s.gradient && random() % 3 == 0) {
    s.base = RandomArena(s, random);
    s.delay_lambda = 0.125f * (random() % 9);
  }
  return s;
}

bool RunsOn(const Backend& backend, const Scenario& scenario) {
  return std::all_of(scenario.tensors.begin(), scenario.tensors.end(), [&](const TensorCase& tensor) {
    return tensor.inner_rule < 0 || backend.Runs(InnerRules()[tensor.inner_rule]);
  });
}

std::vector<uint64_t> MatrixShape(uint64_t count) {
  uint64_t rows = 1;
  for (uint64_t n = 1; n * n <= count; ++n) rows = count % n == 0 ? n : rows;
  return {rows, count / rows};
}

uint32_t ScenarioCount(uint32_t full) {
  const char* const share = std::getenv("STEPBACK_CONFORMANCE_SHARE");
  return share != nullptr ? std::max(full / std::max(std::atoi(share), 1), 1u) : full;
}

std::vector<std::string> BackendNames() {
  std::vector<std::string> names;
  for (const std::string_view target : CpuTargets()) names.push_back("cpu/" + std::string(target));
  std::string error;
  if (MakeCudaBackend(0, &error) != nullptr) names.push_back("cuda:0");
  return names;
}

std::unique_ptr<Backend> MakeBackend(const std::string& name, HostAllocator* allocator) {
  std::string error;
  if (name.starts_with("cuda:")) return MakeCudaBackend(std::stoi(name.substr(5)), &error);
  return MakeCpuBackend(name.substr(std::string("cpu/").size()), allocator);
}

}  // namespace stepback::kernels::testing

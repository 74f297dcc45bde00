#include "tests/unit/core_call_history.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/base/check.h"
#include "server/base/errors.h"
#include "server/core/spec_check.h"

namespace stepback::core_test {
namespace {

constexpr double kLease = 40;

// For weights that come from outside a model.
kernels::Backend* Reliable() {
  static const std::unique_ptr<kernels::Backend> backend = kernels::MakeCpuBackend();
  return backend.get();
}

std::string TextOf(const absl::Status& status) {
  if (status.ok()) return "OK";
  std::string text = fmt::format("{} {} [{}]", static_cast<int>(status.code()), std::string(status.message()),
                                 ReasonOf(status));
  for (const auto& [name, value] : MetadataOf(status)) text += fmt::format(" {}={}", name, value);
  return fmt::format("{} retry {}", text, RetryAfterOf(status).value_or(-1));
}

std::string TextOf(const PushAnswer& a) {
  return fmt::format("#{} outcome {} first {} version {} '{}' staleness {} settings {} steps {}/{} samples {} "
                     "finished {} scale {} round {} H {} decided {} {}",
                     a.sequence, int(a.outcome), int(a.first_outcome), a.version.ToString(), a.reason, a.staleness,
                     a.settings_version, a.inner_steps, a.outer_steps, a.samples, a.finished, a.loss_scale, a.round,
                     a.local_steps, a.decided, TextOf(a.refusal));
}

std::string TextOf(const ClientTable& clients) {
  std::string text;
  for (const auto& [id, record] : clients) {
    text += fmt::format("client {} epoch {} last {} pushes {} missing {}\n", id, record->epoch,
                        record->last_sequence, record->pushes, fmt::join(record->missing, ","));
    for (const PushAnswer& answer : record->answers) text += "  " + TextOf(answer) + "\n";
  }
  return text;
}

int64_t Nanos(TimePoint time) { return time.time_since_epoch().count(); }
std::string TextOf(const std::optional<TimePoint>& time) {
  return time.has_value() ? std::to_string(Nanos(*time)) : "-";
}
std::string TextOf(const PushRef& ref) {
  return fmt::format("{}:{} epoch {} at {}", ref.client_id, ref.sequence, ref.epoch, ref.log_position);
}

std::string TextOf(const std::string& id, const OpenState::Client& c) {
  std::string text = fmt::format("session {} epoch {} role {} end {} in {} excused {} staleness {} pace {} at {}\n",
                                 id, c.epoch, int(c.role), int(c.end), fmt::join(c.contributed, ","),
                                 c.excused ? std::to_string(*c.excused) : "-", c.staleness,
                                 c.pace.steps_per_second, TextOf(c.pace.pushed_at));
  text += fmt::format("  waits for a base since {}, not finite {} {}, in quarantine since {}\n", TextOf(c.base_wait),
                      c.nonfinite.refused, c.nonfinite.overflows, TextOf(c.quarantined_since));
  for (const auto& held : c.held) text += fmt::format("  holds {} since {}\n", TextOf(held.push), Nanos(held.arrived));
  return text;
}

std::string TextOf(const OpenState::OpenRound& round) {
  std::string text = fmt::format("round, retry at {}\n", TextOf(round.retry_at));
  for (const OpenState::Member& m : round.members) {
    text += fmt::format("  {} weight {} {} {} {} staleness {} samples {} steps {} {} {} codec {} at {}\n",
                        TextOf(m.push), m.weight.share, m.weight.numerator, m.weight.clip, m.weight.mixing,
                        m.staleness, m.samples, m.local_steps, m.scaled, m.skipped, m.codec, Nanos(m.arrived));
  }
  for (const Duration spread : round.spreads) text += fmt::format("  spread {}\n", spread.count());
  return text;
}

Told Failed(const absl::Status& status) { return {.error = TextOf(status)}; }

Told TellWhatFailed(const absl::StatusOr<Effects>& effects, StepFailures* failures) {
  if (!effects.ok()) return Failed(effects.status());
  if (failures != nullptr) *failures = effects->failures;
  return TellOf(*effects);
}

Told TellOf(const absl::StatusOr<OpenedSession>& opened) {
  if (!opened.ok()) return Failed(opened.status());
  return {.rest = fmt::format("opened {} after {}, H {}, missing {}", opened->epoch, opened->last_sequence,
                              opened->local_steps, fmt::join(opened->missing, ","))};
}

}  // namespace

Told TellOf(const Effects& effects) {
  Told told;
  for (const auto& a : effects.answers) {
    told.answers.push_back(fmt::format("{} epoch {} {} {}", a.client_id, a.epoch, a.sequence, TextOf(a.answer)));
  }
  for (const Effects::Event& event : effects.events) {
    std::string text = event.name + ": " + event.reason;
    for (const auto& [name, value] : event.fields) text += fmt::format(" {}={}", name, value);
    told.events.push_back(std::move(text));
  }
  told.rest = effects.committed == nullptr ? "no commit" : "committed " + effects.committed->version.ToString();
  told.rest += fmt::format(", synced {}, dropped {}", effects.synced, TextOf(effects.round_dropped));
  for (const auto& [number, why] : effects.dropped_rounds) told.rest += fmt::format(" {} {}", number, TextOf(why));
  told.rest += fmt::format(", ended rounds {} sessions {}", fmt::join(effects.ended_rounds, ","),
                           fmt::join(effects.ended_sessions, ","));
  for (const StepFailure& failure : effects.failures) {
    told.rest += fmt::format(", step {} failed: {}", failure.step, TextOf(failure.status));
  }
  return told;
}

std::string Show(const Told& told) {
  return fmt::format("error: {}\nanswers:\n  {}\nevents:\n  {}\n{}\n", told.error, fmt::join(told.answers, "\n  "),
                     fmt::join(told.events, "\n  "), told.rest);
}

std::string TextOf(const OpenState& state) {
  std::string text = fmt::format("oldest base {}, scale {} after {}, reevaluate {}, last now {}\n", state.oldest_base,
                                 state.loss_scale, state.clean_commits, state.reevaluate, Nanos(state.last_now));
  for (const auto& [id, client] : state.sessions) text += TextOf(id, client);
  for (const OpenState::OpenRound& round : state.rounds) text += TextOf(round);
  for (const PastWeights& past : state.history) text += fmt::format("past {} {}\n", past.counter, Bits(past.theta));
  return text + TextOf(*state.clients);
}

std::string TextOf(const ModelVersion& version) {
  std::string text = fmt::format("{} settings {} finished {} norms {} {} {} {}\n", version.version.ToString(),
                                 version.settings_version, version.finished, version.update_norm,
                                 version.weight_norm, version.distance, version.merge_share);
  for (const FragmentState& fragment : version.fragments) text += fragment.version.ToString() + " ";
  for (const AverageState& average : version.averages) text += fmt::format("{} ", fmt::join(average.iterates.weights, ","));
  return text + TextOf(*version.clients) + StateBits(version);
}

Told Make(const Call& call, Model* model, StepFailures* failures) {
  switch (call.kind) {
    case Call::Kind::kPush:
      return TellWhatFailed(model->Apply(call.push, call.at, call.failures), failures);
    case Call::Kind::kOpen:
      return TellOf(model->Open({.client_id = call.client, .role = call.role}, call.at));
    case Call::Kind::kClose:
      return TellWhatFailed(model->Close(call.client, call.epoch, call.at, call.failures), failures);
    case Call::Kind::kEvict:
      return TellWhatFailed(model->Evict(call.client, call.at, call.failures), failures);
    case Call::Kind::kTick:
      return TellWhatFailed(model->Tick(call.at, call.lapsed, call.failures), failures);
    case Call::Kind::kUpdate: {
      const auto spec = model->Update({call.value}, 0);
      return spec.ok() ? Told{.rest = "updated"} : Failed(spec.status());
    }
    case Call::Kind::kRestore:
      return TellWhatFailed(model->Restore(call.image, call.term), failures);
    case Call::Kind::kImport:
      return TellWhatFailed(model->Import(Arena(Reliable(), *model->current()->spec, call.weights), call.failures),
                    failures);
    case Call::Kind::kRaiseTerm:
      return TellWhatFailed(model->RaiseTerm(call.term, call.at), failures);
  }
  return {};
}

// --- what histories are of ---

namespace {

ModelSpec Base(Mode mode, RuleSpec outer) {
  ModelSpec spec;
  spec.name = "m";
  spec.tensors = {Trained("w", {7}), Trained("v", {2, 3}), Trained("running_mean", {3})};
  spec.tensors[2].role = Role::kAveraged;
  spec.mode = mode;
  spec.outer = std::move(outer);
  spec.lease_seconds = kLease;
  spec.quarantine = {.after = 1, .seconds = 20};
  spec.durability = Durability::kPush;
  return spec;
}

ModelSpec Ordered(ModelSpec spec) {
  spec.rounds.reduction = Reduction::kOrdered;
  spec.rounds.max_workers = 8;
  return spec;
}

ModelSpec Sync(ModelSpec spec) {
  spec.rounds.quorum = 2;
  spec.rounds.deadline_seconds = 12;
  spec.rounds.grace_factor = 1.5;
  spec.rounds.weighting = Weighting::kSamples;
  return spec;
}

ModelSpec Buffered(ModelSpec spec, uint32_t pushes) {
  spec.rounds.policy = RoundPolicy::kBuffered;
  spec.rounds.buffer_pushes = pushes;
  spec.rounds.quorum = 1;
  spec.rounds.deadline_seconds = spec.rounds.grace_factor = 0;
  return spec;
}

ModelSpec Async(ModelSpec spec) {
  spec.rounds.policy = RoundPolicy::kAsync;
  return spec;
}

ModelSpec Robust(const char* aggregator, uint32_t quorum) {
  ModelSpec spec = Ordered(Sync(Base(Mode::kDelta, Rule("nesterov"))));
  spec.rounds.quorum = quorum;
  spec.rounds.aggregator.name = aggregator;
  spec.rounds.weighting = Weighting::kEqual;
  return spec;
}

ModelSpec Adam() {
  ModelSpec spec = Sync(Base(Mode::kGradient, Rule("lookahead")));
  spec.inner = Rule("adamw", {{"lr", 0.05}});
  spec.inner.schedules["lr"] = {"cosine", {{"steps", 40}, {"warmup", 3}}};
  spec.sync_period = 3;
  spec.inner_state = InnerState::kPullback;
  spec.rounds.accumulate = AccumulateType::kF64;
  spec.averages = {{"ema", Rule("ema", {{"decay", 0.8}})}, {"rna", Rule("rna")}};
  return spec;
}

ModelSpec DelayCompensated() {
  ModelSpec spec = Async(Base(Mode::kGradient, Rule("lookahead")));
  spec.inner = Rule("sgd", {{"lr", 0.05}, {"momentum", 0.9}});
  spec.rounds.staleness.name = "delay_compensated";
  spec.rounds.history_versions = 3;
  return spec;
}

ModelSpec DyLu() {
  ModelSpec spec = Async(Base(Mode::kDelta, Rule("nesterov")));
  spec.sync_period = 20;
  spec.rounds.dynamic_local_steps = true;
  spec.rounds.staleness = {"exponential", {{"gamma", 0.7}}};
  return spec;
}

ModelSpec Fragmented() {
  ModelSpec spec = Sync(Base(Mode::kDelta, Rule("nesterov")));
  spec.sync_period = 6;
  spec.fragments.count = 3;
  return spec;
}

ModelSpec Clipped(ModelSpec spec) {
  spec.clip.contribution_norm = 1.5;
  spec.clip.global_norm = 2;
  return spec;
}

ModelSpec WithPower(ModelSpec spec) {
  spec.rounds.staleness = {"polynomial", {{"exponent", 0.7}}};
  return spec;
}

}  // namespace

std::vector<Workload> Workloads() {
  using Settings = std::vector<std::pair<std::string, std::vector<double>>>;
  const Settings sync = {{"rounds.quorum", {1, 2, 3}}, {"rounds.deadline_seconds", {0, 5, 12}},
                         {"outer.lr", {0.5, 0.7}},     {"rounds.max_staleness", {0, 2}}};
  const Settings buffered = {{"rounds.buffer_pushes", {1, 3, 5, 7}}, {"outer.lr", {0.5, 0.7}},
                             {"rounds.max_staleness", {1, 5}}};
  const RuleSpec nesterov = Rule("nesterov");
  std::vector<Workload> workloads = {
      {"sync, running", Clipped(Sync(Base(Mode::kDelta, nesterov))), sync, true},
      {"sync, ordered", Clipped(Ordered(Sync(Base(Mode::kDelta, nesterov)))), sync, true},
      {"sync, trimmed mean", Robust("trimmed_mean", 2), {{"outer.lr", {0.5, 0.7}}}},
      {"sync, coordinate median", Robust("coordinate_median", 3), {{"rounds.deadline_seconds", {0, 5}}}},
      {"sync, gradients, averages", Adam(), {{"inner.lr", {0.01, 0.1}}, {"sync_period", {2, 5}}}, true},
      {"sync, fragments", Fragmented(), sync, false},
      {"buffered, running", WithPower(Buffered(Base(Mode::kDelta, nesterov), 5)), buffered, true},
      {"buffered, ordered", Clipped(Ordered(Buffered(Base(Mode::kDelta, nesterov), 6))), buffered, true},
      {"buffered, fragments", Buffered(Fragmented(), 2), buffered, false},
      {"async, dynamic local steps", DyLu(), {{"outer.lr", {0.5, 0.7}}, {"rounds.dynamic_local_steps", {0, 1}}}},
      {"async, delay compensated", DelayCompensated(), {{"inner.lr", {0.01, 0.1}}}},
      {"async, weights", WithPower(Async(Base(Mode::kDelta, Rule("fed_async")))), {{"outer.alpha", {0.3, 0.9}}}},
  };
  for (Workload& workload : workloads) {
    workload.spec = WithDefaults(workload.spec);
    const absl::Status valid = ValidateSpec(workload.spec);
    SB_CHECK(valid.ok(), "%s: %s", workload.name.c_str(), valid.ToString().c_str());
  }
  return workloads;
}

PushData FirstWeights(const ModelSpec& spec) {
  PushData weights;
  for (const TensorSpec& tensor : spec.tensors) {
    uint64_t elements = 1;
    for (const uint64_t n : tensor.shape) elements *= n;
    weights.push_back({.floats = Floats(elements, 1.5f)});
  }
  return weights;
}

// --- a history ---

History::History(const Workload& workload, uint64_t seed, kernels::Backend* backend)
    : workload_(workload), random_(seed), model_(Fresh(backend)) {}

std::unique_ptr<Model> History::Fresh(kernels::Backend* backend) const {
  static kernels::InlineExecutor executor;
  auto spec = std::make_shared<const ModelSpec>(workload_.spec);
  auto layout = *Layout::Make(spec->tensors, spec->fragments);
  auto model = Model::Create(spec, layout, Arena(Reliable(), *spec, FirstWeights(*spec)), {backend, &executor});
  SB_CHECK(model.ok(), "%s", model.status().ToString().c_str());
  return *std::move(model);
}

Model::FetchPush History::Fetch() const {
  return [this](const PushRef& ref) -> absl::StatusOr<Push> {
    SB_CHECK(ref.log_position >= 1 && ref.log_position <= entries_.size(), "%s", ref.client_id.c_str());
    return entries_[ref.log_position - 1].call.push;
  };
}

void History::Grow(int calls) {
  for (int i = 0; i < calls; ++i) {
    PassTime();
    if (Below(3) == 0) Beat();
    Add(Draw());
  }
}

void History::PassTime() {
  const uint64_t kind = Below(20);
  const auto most = std::chrono::milliseconds(kind == 0 ? 30'000 : kind < 4 ? 5'000 : 800);
  now_ += std::chrono::nanoseconds(Below(static_cast<uint64_t>(std::chrono::nanoseconds(most).count())));
}

void History::Beat() {
  const std::string client = Client();
  const ClientRecord* const record = Record(client);
  const uint64_t epoch = record == nullptr ? 0 : record->epoch;
  (void)model_->Heartbeat(client, epoch, {.train_loss = 1.0}, now_);
  (void)model_->Open({.client_id = client, .attach = true}, now_ + std::chrono::seconds(1));
}

const ClientRecord* History::Record(const std::string& client) const {
  return entries_.empty() ? nullptr : entries_.back().open.clients->Find(client);
}

Call History::Draw() {
  const uint64_t what = Below(100);
  if (what < 62) return DrawPush();
  if (what < 74) return DrawTick();
  Call call{.at = now_, .client = Client()};
  const ClientRecord* const record = Record(call.client);
  call.epoch = (record == nullptr ? 0 : record->epoch) + (Below(10) == 0 ? 1 : 0);
  call.term = model_->current()->version.term + (Below(8) == 0 ? 0 : 1);
  if (what < 86) {
    call.kind = Call::Kind::kOpen;
    call.role = Below(8) == 0 ? SessionRole::kReader : SessionRole::kTrainer;
  } else if (what < 89) {
    call.kind = Call::Kind::kClose;
  } else if (what < 91) {
    call.kind = Call::Kind::kEvict;
  } else if (what < 94) {
    return DrawUpdate();
  } else if (what < 96 && !entries_.empty()) {
    call.kind = Call::Kind::kRaiseTerm;
  } else if (what < 98 && !entries_.empty()) {
    call.kind = Call::Kind::kRestore;
    call.image = entries_[entries_.size() - 1 - Below(std::min<size_t>(entries_.size(), 15))].version;
  } else {
    call.kind = Call::Kind::kImport;
    call.weights = FirstWeights(workload_.spec);
    for (TensorData& tensor : call.weights) tensor.floats = RandomFloats(&random_, tensor.floats.size());
  }
  return call;
}

Call History::DrawTick() {
  if (const auto next = model_->NextTick(); next.has_value() && Below(2) == 0) now_ = std::max(now_, *next);
  Call call{.at = now_, .lapsed = model_->Lapsed(now_)};
  if (Below(10) == 0) call.lapsed.push_back(Client());  // renewed since, or not there at all
  return call;
}

Call History::DrawUpdate() {
  Call call{.kind = Call::Kind::kUpdate, .at = now_};
  const auto& [path, values] = workload_.settings[Below(workload_.settings.size())];
  call.value = {path, values[Below(values.size())]};
  return call;
}

Call History::DrawPush() {
  Call call{.kind = Call::Kind::kPush, .at = now_};
  PushData data = DrawData();
  call.push.header = DrawHeader();
  PushHeader& header = call.push.header;
  if (header.fragment.has_value()) {
    for (size_t t = 0; t < data.size(); ++t) data[t].present = t == *header.fragment;
  } else if (workload_.partial && Below(4) == 0) {
    data[Below(data.size())].present = false;
  }
  if (!header.fragment.has_value()) header.present = PresentOf(workload_.spec, data);
  call.push.payload = Encode(workload_.spec, data, std::string(kernels::Codecs()[header.codec].name), &random_);
  if (Below(30) == 0) call.push.payload = {};  // malformed
  call.push.finite = Below(8) > 0;
  const bool overflows = !call.push.finite && header.kind != PushKind::kWeights && Below(4) > 0;
  if (overflows) header.loss_scale = 256;
  call.push.log_position = entries_.size() + 1;
  return call;
}

PushData History::DrawData() {
  PushData data = FirstWeights(workload_.spec);
  for (TensorData& tensor : data) tensor.floats = RandomFloats(&random_, tensor.floats.size());
  return data;
}

PushHeader History::DrawHeader() {
  const ModelVersion& version = *model_->current();
  PushHeader header{.client_id = Client()};
  const ClientRecord* const record = Record(header.client_id);
  const uint64_t last = record == nullptr ? 0 : record->last_sequence, order = Below(20);
  header.epoch = record == nullptr ? 1 : record->epoch - (Below(25) == 0 ? 1 : 0);
  header.sequence = order < 12 ? last + 1 : order < 17 ? last + 2 + Below(7) : last - std::min(last, Below(10));
  header.kind = workload_.spec.mode == Mode::kGradient       ? PushKind::kGradient
                : workload_.spec.outer.name == "fed_async" ? PushKind::kWeights
                                                           : PushKind::kDelta;
  const uint64_t counter = version.version.counter;
  header.base = {.term = version.version.term - (Below(5) == 0 ? 1 : 0),
                 .counter = counter - std::min(counter, Below(8) == 0 ? Below(6) : Below(2))};
  if (Below(15) == 0) header.base.counter = counter + 1 + Below(2);
  header.samples = 1 + Below(9);
  header.local_steps = Below(30);
  if (header.kind != PushKind::kWeights && Below(4) == 0) header.loss_scale = 256;
  header.codec = kernels::FindCodec(Below(3) == 0 ? "bf16" : "f32")->id;
  if (!version.fragments.empty()) {
    header.fragment = static_cast<uint32_t>(Below(version.fragments.size()));
    const uint64_t steps = version.fragments[*header.fragment].outer_steps;
    header.fragment_step = steps - std::min(steps, Below(2));
    if (Below(15) == 0) header.fragment_step = steps + 1;
  }
  return header;
}

void History::Add(Call call) {
  uint64_t held = 0;
  if (call.kind == Call::Kind::kOpen && !entries_.empty()) {
    const auto& sessions = entries_.back().open.sessions;
    if (const auto found = sessions.find(call.client); found != sessions.end()) held = found->second.held.size();
  }
  Told told = Make(call, model_.get(), &call.failures);
  const bool reports = told.error.empty() && call.kind != Call::Kind::kOpen && call.kind != Call::Kind::kUpdate;
  unreported_ = reports ? 0 : unreported_ + (told.error.empty() ? held : 0);
  entries_.push_back({std::move(call), std::move(told), model_->current(), model_->open_state(), unreported_});
}

}  // namespace stepback::core_test

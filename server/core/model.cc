#include "server/core/model.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/core/model_impl.h"
#include "server/core/seconds.h"
#include "server/core/settings.h"

namespace stepback {
namespace {

constexpr size_t kWorkersNamed = 3;  // in WaitingFor

absl::Status BadTerm(const ModelSpec& spec, uint64_t term, uint64_t least) {
  return Error(absl::StatusCode::kInvalidArgument, "TERM_INVALID",
               fmt::format("model '{}': term {} is not above {}", spec.name, term, least));
}

}  // namespace

Model::Impl::Impl(std::unique_ptr<ModelState> model_state, Environment env)
    : environment(env),
      state(std::move(model_state)),
      sessions(state->spec().name, state->layout().rounds(),
               state->spec().durability == Durability::kPush),
      log(*state->current()->clients) {
  const std::shared_ptr<const Layout>& layout = state->current()->layout;
  for (uint32_t number = 0; number < layout->rounds(); ++number)
    rounds.push_back({.round = Round(layout, number)});
}

Model::Model(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Model::~Model() = default;

absl::StatusOr<std::unique_ptr<Model>> Model::Create(std::shared_ptr<const ModelSpec> spec,
                                                     std::shared_ptr<const Layout> layout,
                                                     std::unique_ptr<kernels::Buffer> weights,
                                                     Environment environment) {
  ASSIGN_OR_RETURN(ModelVersion first, ModelState::Begin(std::move(spec), std::move(layout),
                                                         std::move(weights), environment.backend));
  first.version = {.term = 1, .counter = 0};
  MarkFragmentsChanged(&first);
  ASSIGN_OR_RETURN(auto state, ModelState::Make(std::move(first), environment));
  return std::unique_ptr<Model>(new Model(std::make_unique<Impl>(std::move(state), environment)));
}

absl::StatusOr<std::unique_ptr<Model>> Model::FromImage(std::shared_ptr<const ModelVersion> image,
                                                        uint64_t term, Environment environment) {
  RETURN_IF_ERROR(ModelState::CheckImage(*image));
  if (term <= image->version.term) return BadTerm(*image->spec, term, image->version.term);
  ModelVersion version = *image;
  version.version.term = term;
  ASSIGN_OR_RETURN(auto state, ModelState::Make(std::move(version), environment));
  return std::unique_ptr<Model>(new Model(std::make_unique<Impl>(std::move(state), environment)));
}

// --- a call ---

Effects Model::Impl::Begin(TimePoint now, const StepFailures& recorded) {
  state->BeginSteps(recorded);
  last_now = std::max(last_now, now);
  return std::exchange(outbox, Effects());
}

void Model::Impl::Settle(TimePoint now, Effects* effects) {
  do {
    while (!ready.empty()) DecideHeads(ready.extract(ready.begin()).value(), now, effects);
  } while (std::exchange(reevaluate, false) && EvaluateRounds(now, effects));
  effects->failures = state->TakeStepFailures();
}

Effects Model::Apply(Push push, TimePoint now, const StepFailures& failures) {
  Effects effects = impl_->Begin(now, failures);
  impl_->Receive(std::move(push), now, &effects);
  impl_->Settle(now, &effects);
  return effects;
}

std::vector<std::string> Model::Lapsed(TimePoint now) const { return impl_->sessions.Lapsed(now); }

Effects Model::Tick(TimePoint now, const std::vector<std::string>& lapsed, const StepFailures& failures) {
  Effects effects = impl_->Begin(now, failures);
  impl_->EndLapsed(lapsed, now, &effects);
  impl_->ready.insert(impl_->sessions.holders().begin(), impl_->sessions.holders().end());
  impl_->reevaluate = true;
  impl_->Settle(now, &effects);
  return effects;
}

std::optional<TimePoint> Model::NextTick() const {
  const bool at_once = impl_->reevaluate || !impl_->ready.empty() || !impl_->outbox.answers.empty() ||
                       !impl_->outbox.events.empty();
  if (at_once) return impl_->last_now;
  TimePoint next = impl_->sessions.lease_check_at();
  for (uint32_t number = 0; number < impl_->rounds.size(); ++number) {
    // A close that found no memory has passed its deadline already.
    const std::optional<TimePoint>& retry_at = impl_->rounds[number].retry_at;
    const auto deadline = RoundDeadline(impl_->Progress(number), impl_->spec().rounds);
    if (const auto close_at = retry_at.has_value() ? retry_at : deadline) next = std::min(next, *close_at);
  }
  for (const std::string& id : impl_->sessions.holders()) {
    const Session* session = impl_->sessions.Find(id);
    if (session->excused) next = std::min(next, impl_->BaseWaitEnd(session->held.begin()->second));
  }
  return next == TimePoint::max() ? std::nullopt : std::optional(next);
}

// --- settings, restore, import ---

absl::StatusOr<std::shared_ptr<const ModelSpec>> Model::Update(
    const std::vector<std::pair<std::string, double>>& values, uint64_t expected_settings_version) {
  const uint64_t settings_version = impl_->state->current()->settings_version;
  if (expected_settings_version != 0 && expected_settings_version != settings_version) {
    return Error(absl::StatusCode::kAborted, "SETTINGS_CONFLICT",
                 fmt::format("model '{}': settings_version is {}, expected {}", impl_->spec().name,
                             settings_version, expected_settings_version));
  }
  ASSIGN_OR_RETURN(std::shared_ptr<const ModelSpec> spec, WithSettings(impl_->spec(), values));
  RETURN_IF_ERROR(impl_->state->SetSpec(spec, settings_version + 1));
  impl_->reevaluate = impl_->reevaluate || impl_->AnyOpen();  // they may close under the new settings
  return spec;
}

absl::StatusOr<Effects> Model::Restore(std::shared_ptr<const ModelVersion> image, uint64_t term) {
  RETURN_IF_ERROR(ModelState::CheckImage(*image));
  const std::shared_ptr<const ModelVersion> before = impl_->state->current();
  const uint64_t newest_term = std::max(before->version.term, image->version.term);
  if (term <= newest_term) return BadTerm(impl_->spec(), term, newest_term);
  if (image->layout->fingerprint() != before->layout->fingerprint()) {
    return Error(absl::StatusCode::kInvalidArgument, "LAYOUT_MISMATCH",
                 fmt::format("model '{}': the snapshot has fingerprint {}, the model {}", impl_->spec().name,
                             image->layout->fingerprint_hex(), before->layout->fingerprint_hex()));
  }
  ClientLog merged = impl_->log;
  merged.Merge(*image->clients);
  ModelVersion version = *image;
  version.layout = before->layout;
  version.version = {.term = term, .counter = std::max(before->version.counter, image->version.counter) + 1};
  version.settings_version = before->settings_version + (*image->spec == *before->spec ? 0 : 1);
  version.clients = merged.Freeze();
  MarkFragmentsChanged(&version);
  RETURN_IF_ERROR(impl_->state->Replace(std::move(version)));

  Effects effects = impl_->Begin(impl_->last_now);
  impl_->log = std::move(merged);
  impl_->EndAllSessions(&effects);
  impl_->sessions.ForgiveAll();
  impl_->EndAllRounds("a snapshot was restored", &effects);
  impl_->oldest_base = impl_->version().counter;
  effects.committed = impl_->state->current();
  effects.events.push_back({"model_restored",
                            fmt::format("state of version {} restored as {}", image->version.ToString(),
                                        impl_->version().ToString()),
                            {{"version", impl_->version().ToString()}, {"from", image->version.ToString()}}});
  return effects;
}

absl::StatusOr<Effects> Model::Import(std::unique_ptr<kernels::Buffer> weights,
                                      const StepFailures& failures) {
  const std::shared_ptr<const ModelVersion> before = impl_->state->current();
  ASSIGN_OR_RETURN(ModelVersion version, ModelState::Begin(before->spec, before->layout, std::move(weights),
                                                           impl_->environment.backend));
  version.version = {.term = before->version.term, .counter = before->version.counter + 1};
  version.settings_version = before->settings_version;
  version.clients = impl_->log.Freeze();
  MarkFragmentsChanged(&version);
  RETURN_IF_ERROR(impl_->state->Replace(std::move(version)));

  Effects effects = impl_->Begin(impl_->last_now, failures);
  impl_->EndAllRounds("other weights were imported", &effects);
  impl_->sessions.ForgiveAll();
  impl_->oldest_base = impl_->version().counter;
  effects.committed = impl_->state->current();
  effects.events.push_back({"weights_imported",
                            fmt::format("weights replaced at version {}", impl_->version().ToString()),
                            {{"version", impl_->version().ToString()}}});
  impl_->Settle(impl_->last_now, &effects);
  return effects;
}

absl::StatusOr<Effects> Model::RaiseTerm(uint64_t term, TimePoint now) {
  if (term <= impl_->version().term) return BadTerm(impl_->spec(), term, impl_->version().term);
  impl_->state->SetTerm(term);
  Effects effects = impl_->Begin(now);
  impl_->sessions.RenewAll(now + impl_->lease());
  impl_->sessions.ForgetBaseWaits();
  effects.committed = impl_->state->current();
  return effects;
}

// --- what others see ---

std::shared_ptr<const ModelVersion> Model::current() const { return impl_->state->current(); }

std::vector<SessionInfo> Model::Sessions(TimePoint now) const {
  std::vector<SessionInfo> infos;
  for (const auto& [id, session] : impl_->sessions.all()) {
    if (!session.live()) continue;
    infos.push_back({.client_id = id,
                     .role = session.role,
                     .epoch = session.epoch,
                     .last_sequence = impl_->log.last_sequence(id),
                     .lease_remaining_seconds = std::max(0.0, ToSeconds(session.lease_end - now)),
                     .contributed = !session.contributed.empty(),
                     .rounds = session.contributed,
                     .pushes = impl_->log.pushes(id),
                     .staleness = session.staleness,
                     .health = session.health});
  }
  return infos;
}

std::vector<SessionInfo> Model::Quarantined(TimePoint now) const {
  std::vector<SessionInfo> infos;
  for (const auto& [id, session] : impl_->sessions.all()) {
    const Duration left = impl_->QuarantineLeft(id, now);
    if (left == Duration::zero()) continue;
    infos.push_back({.client_id = id,
                     .role = session.role,
                     .epoch = session.epoch,
                     .last_sequence = impl_->log.last_sequence(id),
                     .quarantine_remaining_seconds = ToSeconds(left),
                     .pushes = impl_->log.pushes(id),
                     .staleness = session.staleness});
  }
  return infos;
}

uint32_t Model::live_trainers() const { return impl_->sessions.live_trainers(); }

std::string Model::WaitingFor() const {
  if (impl_->rounds.size() == 1) return impl_->WaitingFor(0);
  std::string text;
  for (const uint32_t number : OpenRounds()) {
    text += fmt::format("{}fragment {}: {}", text.empty() ? "" : "; ", number, impl_->WaitingFor(number));
  }
  return text;
}

std::string Model::Impl::WaitingFor(uint32_t number) const {
  if (!rounds[number].round.open()) return "";
  const RoundDecision decision = DecideRound(Progress(number), spec().rounds, last_now);
  const std::set<std::string>& awaited = sessions.awaited_ids(number);
  if (awaited.empty() || spec().rounds.policy != RoundPolicy::kSync) return decision.reason;
  const size_t named = std::min(awaited.size(), kWorkersNamed);
  const size_t others = awaited.size() - named;
  return fmt::format("waits for {}{}; {}",
                     fmt::join(awaited.begin(), std::next(awaited.begin(), named), ", "),
                     others > 0 ? fmt::format(" and {} more", others) : "", decision.reason);
}

std::vector<std::string> Model::WaitingForWorkers() const {
  if (impl_->spec().rounds.policy != RoundPolicy::kSync) return {};
  std::set<std::string> awaited;
  for (const uint32_t number : OpenRounds()) {
    const std::set<std::string>& ids = impl_->sessions.awaited_ids(number);
    awaited.insert(ids.begin(), ids.end());
  }
  return {awaited.begin(), awaited.end()};
}

std::set<uint32_t> Model::OpenRounds() const {
  std::set<uint32_t> open;
  for (uint32_t number = 0; number < impl_->rounds.size(); ++number) {
    if (impl_->rounds[number].round.open()) open.insert(number);
  }
  return open;
}

uint64_t Model::state_bytes() const {
  uint64_t staged = 0;
  for (const Impl::OpenRound& open : impl_->rounds) staged += open.round.staged_bytes();
  return impl_->state->bytes() + staged + impl_->sessions.held_bytes();
}

}  // namespace stepback

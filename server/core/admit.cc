#include "server/core/admit.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/base/errors.h"

namespace stepback {
namespace {

Admission Refuse(absl::Status status) { return {.verdict = Verdict::kRefuse, .status = std::move(status)}; }
Admission Wait(std::string reason) { return {.verdict = Verdict::kWait, .reason = std::move(reason)}; }

std::string Who(const PushHeader& header, const AdmitState& state) {
  return fmt::format("model '{}': push {} of client '{}'", state.model_name, header.sequence,
                     header.client_id);
}

Admission SequenceZero(const PushHeader& header, const AdmitState& state) {
  return Refuse(Error(absl::StatusCode::kInvalidArgument, "SEQUENCE_INVALID",
                      fmt::format("{}: sequence numbers start at 1", Who(header, state))));
}

Admission AheadOfTurn(const PushHeader& header, const AdmitState& state) {
  const uint64_t expected = state.last_sequence + 1;
  if (header.sequence - expected <= kPushesAhead) return Wait(fmt::format("waits for push {}", expected));
  return Refuse(Error(absl::StatusCode::kFailedPrecondition, "SEQUENCE_GAP",
                      fmt::format("{}: expected {}, and at most {} pushes may run ahead of it",
                                  Who(header, state), expected, kPushesAhead),
                      {{"expected", std::to_string(expected)}}));
}

std::string BaseOf(const PushHeader& header) {
  if (!header.fragment.has_value()) return "version " + header.base.ToString();
  return fmt::format("version {} (step {} of fragment {})", header.base.ToString(), header.fragment_step,
                     *header.fragment);
}

std::string CurrentOf(const AdmitState& state) {
  if (!state.fragment_step.has_value()) return state.current.ToString();
  return fmt::format("{} (step {})", state.current.ToString(), *state.fragment_step);
}

// Weights from before an import or a restore are another matter: StaleBase.
bool IsAhead(const PushHeader& header, const AdmitState& state) {
  if (header.base.counter > state.current.counter) return true;
  return state.fragment_step.has_value() && header.base.counter >= state.oldest_base &&
         header.fragment_step > *state.fragment_step;
}

uint64_t StalenessOf(const PushHeader& header, const AdmitState& state) {
  if (!state.fragment_step.has_value()) return state.current.counter - header.base.counter;
  return *state.fragment_step - std::min(header.fragment_step, *state.fragment_step);
}

// A base of this term (or a later one) that the model has not reached was never served by it. One of an
// earlier term was lost by a recovery: replays of other clients may bring it back.
Admission BaseAhead(const PushHeader& header, const AdmitState& state) {
  if (header.base.term < state.current.term && !state.waited_for_base) {
    Admission wait =
        Wait(fmt::format("waits for {} to be replayed, now {}", BaseOf(header), CurrentOf(state)));
    wait.base_ahead = true;
    return wait;
  }
  return Refuse(Error(absl::StatusCode::kAborted, "RESYNC",
                      fmt::format("{}: base {} is ahead of the current {}; pull again", Who(header, state),
                                  BaseOf(header), CurrentOf(state))));
}

Admission NotFinite(const PushHeader& header, const AdmitState& state) {
  if (header.loss_scale != 1) {
    return {.verdict = Verdict::kSkip,
            .reason = fmt::format("skipped: not finite at loss scale {}", header.loss_scale)};
  }
  return {.verdict = Verdict::kReject,
          .status = Error(absl::StatusCode::kInvalidArgument, "NONFINITE",
                          fmt::format("{}: has a NaN or an infinity", Who(header, state)))};
}

Admission StaleBase(const PushHeader& header, const AdmitState& state, uint64_t staleness) {
  const bool replaced = header.base.counter < state.oldest_base;
  const bool forgotten = header.base.counter < state.oldest_kept && staleness <= state.max_staleness;
  const std::string bound =
      replaced ? fmt::format("the weights were replaced at counter {}", state.oldest_base)
      : forgotten
          ? fmt::format("its weights are not kept any more, the oldest are of counter {}", state.oldest_kept)
          : fmt::format("staleness {}, max_staleness {}", staleness, state.max_staleness);
  return {.verdict = Verdict::kReject,
          .status = Error(absl::StatusCode::kAborted, "STALE_BASE",
                          fmt::format("{}: base {}, current {}, {}; pull again", Who(header, state),
                                      BaseOf(header), CurrentOf(state), bound),
                          {{"base", header.base.ToString()},
                           {"current", state.current.ToString()},
                           {"max_staleness", std::to_string(state.max_staleness)}}),
          .staleness = staleness};
}

}  // namespace

Admission Admit(const PushHeader& header, bool finite, const AdmitState& state) {
  if (header.sequence == 0) return SequenceZero(header, state);
  if (header.sequence <= state.last_sequence && !state.missing) return {.verdict = Verdict::kDuplicate};
  if (header.sequence > state.last_sequence + 1) return AheadOfTurn(header, state);
  if (state.contributed) return Wait("waits for the open round, which holds a push of this client");
  if (IsAhead(header, state)) return BaseAhead(header, state);
  if (!finite) return NotFinite(header, state);
  const uint64_t staleness = StalenessOf(header, state);
  if (staleness > state.max_staleness ||
      header.base.counter < std::max(state.oldest_base, state.oldest_kept)) {
    return StaleBase(header, state, staleness);
  }
  return {.verdict = Verdict::kAccept, .staleness = staleness};
}

uint64_t MaxStaleness(const RoundSpec& rounds, uint32_t live_trainers) {
  if (rounds.max_staleness.has_value()) return *rounds.max_staleness;
  return rounds.policy == RoundPolicy::kSync ? 1 : uint64_t{4} * std::max(live_trainers, 1u);
}

}  // namespace stepback

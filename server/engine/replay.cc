#include "server/engine/replay.h"

#include <fmt/format.h>

#include <utility>

#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/engine/arena_writer.h"
#include "server/engine/model_report.h"

namespace stepback {
namespace {

template <typename... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <typename... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

}  // namespace

bool DependsOnMachine(const LoggedCall::Call& call, const absl::Status& status) {
  const bool allocates = std::holds_alternative<LoggedUpdate>(call) ||
                         std::holds_alternative<LoggedRestore>(call) ||
                         std::holds_alternative<LoggedImport>(call);
  return allocates && (absl::IsResourceExhausted(status) || absl::IsInternal(status) ||
                       absl::IsDataLoss(status) || absl::IsNotFound(status));
}

absl::StatusOr<Effects> OpenAndSettle(Model* model, const OpenSession& request, TimePoint now,
                                      const std::vector<std::string>& lapsed, OpenedSession* opened,
                                      const StepFailures& failures) {
  ASSIGN_OR_RETURN(*opened, model->Open(request, now));
  return model->Tick(now, lapsed, failures);
}

absl::StatusOr<Effects> UpdateAndSettle(Model* model, const LoggedUpdate& update, TimePoint now,
                                        const std::vector<std::string>& lapsed,
                                        const StepFailures& failures) {
  RETURN_IF_ERROR(model->Update(update.values, update.expected_settings_version).status());
  return model->Tick(now, lapsed, failures);
}

absl::StatusOr<std::unique_ptr<kernels::Buffer>> WeightsOf(const ModelVersion& version, const Payload& dense,
                                                           kernels::Backend* backend) {
  ASSIGN_OR_RETURN(auto writer, ArenaWriter::Make(version.spec->name, version.layout,
                                                  *kernels::FindCodec("f32"), backend));
  if (dense.size() != writer->total_bytes()) {
    return Error(absl::StatusCode::kInvalidArgument, "SIZE_MISMATCH",
                 fmt::format("model '{}': import of {} bytes, expected {}", version.spec->name, dense.size(),
                             writer->total_bytes()));
  }
  RETURN_IF_ERROR(writer->Write(dense.view()));
  return writer->Take();
}

absl::Status Replay::Make(const LoggedCall& call, LogEntry entry) {
  static const StepFailures kNone;
  const auto met = failures_.find(entry.place.position);
  if (met != failures_.end() && met->second.refused) return absl::OkStatus();
  const StepFailures& failed = met == failures_.end() ? kNone : met->second.steps;
  const absl::StatusOr<Effects> made = Call(call.call, &entry, origin_ + call.time, failed);
  if (!made.ok()) return DependsOnMachine(call.call, made.status()) ? made.status() : absl::OkStatus();
  // The server may have died between the log and its own lines about it.
  for (const Effects::Event& event : made->events) {
    if (event.name == "round_closed" || event.name == "round_dropped")
      LogModelEvent(model_->current()->spec->name, event);
  }
  if (made->failures == failed) return absl::OkStatus();
  return Error(absl::StatusCode::kResourceExhausted, "NO_MEMORY",
               fmt::format("model '{}': the call at {} of its log cannot be made again: {}",
                           model_->current()->spec->name, entry.place.position,
                           made->failures.empty() ? "a failure that was logged did not come"
                                                  : std::string(made->failures.front().status.message())));
}

absl::StatusOr<Effects> Replay::Call(const LoggedCall::Call& call, LogEntry* entry, TimePoint now,
                                     const StepFailures& failed) {
  using Result = absl::StatusOr<Effects>;
  return std::visit(
      Overloaded{
          [&](const LoggedPush& push) -> Result {
            return model_->Apply({.header = push.header,
                                  .payload = std::move(entry->payload),
                                  .finite = push.finite,
                                  .log_position = entry->place.position},
                                 now, failed);
          },
          [&](const LoggedOpen& open) -> Result {
            OpenedSession opened;
            return OpenAndSettle(model_, {.client_id = open.client_id, .role = open.role}, now, {}, &opened,
                                 failed);
          },
          [&](const LoggedClose& close) { return model_->Close(close.client_id, close.epoch, now, failed); },
          [&](const LoggedEvict& evict) { return model_->Evict(evict.client_id, now, failed); },
          [&](const LoggedTick& tick) -> Result { return model_->Tick(now, tick.lapsed, failed); },
          [&](const LoggedUpdate& update) { return UpdateAndSettle(model_, update, now, {}, failed); },
          [&](const LoggedRestore& restore) -> Result {
            ASSIGN_OR_RETURN(const auto image, load_(restore.generation));
            return model_->Restore(image, restore.term);
          },
          [&](const LoggedImport&) -> Result {
            ASSIGN_OR_RETURN(auto weights, WeightsOf(*model_->current(), entry->payload, backend_));
            return model_->Import(std::move(weights), failed);
          },
          [&](const LoggedTerm& term) { return model_->RaiseTerm(term.term, now); },
          [&](const LoggedFailures&) -> Result { return Effects(); }},
      call);
}

}  // namespace stepback

#include "server/engine/logged_call.h"

#include <fmt/format.h>

#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "stepback/v1/durable.pb.h"

namespace stepback {
namespace {

absl::Status DamagedRecord(const std::string& what) {
  return Error(absl::StatusCode::kDataLoss, "LOG_DAMAGED", "a record of the log is damaged: " + what);
}

// --- to a record: what the frame has room for goes there ---

void Put(const LoggedPush& push, LogRecord* record, v1::LoggedCall* stored) {
  const PushHeader& header = push.header;
  record->client = header.client_id;
  record->epoch = header.epoch;
  record->sequence = header.sequence;
  v1::LoggedPush* const to = stored->mutable_push();
  to->set_kind(static_cast<uint32_t>(header.kind));
  to->set_base_term(header.base.term);
  to->set_base_counter(header.base.counter);
  to->set_samples(header.samples);
  to->set_local_steps(header.local_steps);
  to->set_loss_scale(header.loss_scale);
  to->set_codec(static_cast<uint32_t>(header.codec));
  to->set_present(header.present.data(), header.present.size());
  if (header.fragment) to->set_fragment(*header.fragment);
  to->set_fragment_step(header.fragment_step);
  to->set_not_finite(!push.finite);
}

void Put(const LoggedOpen& open, LogRecord* record, v1::LoggedCall* stored) {
  record->client = open.client_id;
  stored->mutable_open()->set_role(static_cast<uint32_t>(open.role));
}

void Put(const LoggedClose& close, LogRecord* record, v1::LoggedCall* stored) {
  record->client = close.client_id;
  record->epoch = close.epoch;
  stored->mutable_close();
}

void Put(const LoggedEvict& evict, LogRecord* record, v1::LoggedCall* stored) {
  record->client = evict.client_id;
  stored->mutable_evict();
}

void Put(const LoggedTick& tick, LogRecord*, v1::LoggedCall* stored) {
  for (const std::string& id : tick.lapsed) stored->mutable_tick()->add_lapsed(id);
  stored->mutable_tick();
}

void Put(const LoggedUpdate& update, LogRecord*, v1::LoggedCall* stored) {
  v1::LoggedUpdate* const to = stored->mutable_update();
  for (const auto& [path, number] : update.values) {
    v1::LoggedUpdate::Value* const value = to->add_values();
    value->set_path(path);
    value->set_value(number);
  }
  to->set_expected_settings_version(update.expected_settings_version);
}

void Put(const LoggedRestore& restore, LogRecord*, v1::LoggedCall* stored) {
  stored->mutable_restore()->set_generation(restore.generation);
  stored->mutable_restore()->set_term(restore.term);
}

void Put(const LoggedImport&, LogRecord*, v1::LoggedCall* stored) { stored->mutable_import(); }

void Put(const LoggedTerm& term, LogRecord*, v1::LoggedCall* stored) {
  stored->mutable_term()->set_term(term.term);
}

void Put(const LoggedFailures& failures, LogRecord*, v1::LoggedCall* stored) {
  v1::LoggedFailures* const to = stored->mutable_failures();
  to->set_position(failures.position);
  to->set_refused(failures.refused);
  for (const StepFailure& failure : failures.steps) {
    v1::LoggedFailures::Step* const step = to->add_steps();
    step->set_step(failure.step);
    step->set_code(static_cast<uint32_t>(failure.status.code()));
    step->set_message(std::string(failure.status.message()));
    step->set_reason(ReasonOf(failure.status));
  }
}

// --- and back ---

absl::StatusOr<LoggedPush> TakePush(const LogRecord& record, const v1::LoggedPush& stored) {
  if (stored.kind() < 1 || stored.kind() > static_cast<uint32_t>(PushKind::kWeights)) {
    return DamagedRecord(fmt::format("the kind of push {} of client '{}' is {}", record.sequence,
                                     record.client, stored.kind()));
  }
  LoggedPush push{.header = {.client_id = record.client,
                             .epoch = record.epoch,
                             .sequence = record.sequence,
                             .kind = static_cast<PushKind>(stored.kind()),
                             .base = {.term = stored.base_term(), .counter = stored.base_counter()},
                             .samples = stored.samples(),
                             .local_steps = stored.local_steps(),
                             .loss_scale = stored.loss_scale(),
                             .codec = static_cast<int>(stored.codec()),
                             .present = {stored.present().begin(), stored.present().end()},
                             .fragment_step = stored.fragment_step()},
                  .finite = !stored.not_finite()};
  if (stored.has_fragment()) push.header.fragment = stored.fragment();
  return push;
}

absl::StatusOr<LoggedOpen> TakeOpen(const LogRecord& record, const v1::LoggedOpen& stored) {
  if (stored.role() < 1 || stored.role() > static_cast<uint32_t>(SessionRole::kReader)) {
    return DamagedRecord(fmt::format("client '{}' opened a session as {}", record.client, stored.role()));
  }
  return LoggedOpen{record.client, static_cast<SessionRole>(stored.role())};
}

LoggedUpdate TakeUpdate(const v1::LoggedUpdate& stored) {
  LoggedUpdate update{.expected_settings_version = stored.expected_settings_version()};
  for (const v1::LoggedUpdate::Value& value : stored.values())
    update.values.emplace_back(value.path(), value.value());
  return update;
}

LoggedFailures TakeFailures(const v1::LoggedFailures& stored) {
  LoggedFailures failures{.position = stored.position(), .refused = stored.refused()};
  for (const v1::LoggedFailures::Step& step : stored.steps()) {
    failures.steps.push_back(
        {step.step(), Error(static_cast<absl::StatusCode>(step.code()), step.reason(), step.message())});
  }
  return failures;
}

absl::StatusOr<LoggedCall::Call> TakeCall(const LogRecord& record, const v1::LoggedCall& stored) {
  switch (stored.call_case()) {
    case v1::LoggedCall::kPush:
      return TakePush(record, stored.push());
    case v1::LoggedCall::kOpen:
      return TakeOpen(record, stored.open());
    case v1::LoggedCall::kClose:
      return LoggedClose{record.client, record.epoch};
    case v1::LoggedCall::kEvict:
      return LoggedEvict{record.client};
    case v1::LoggedCall::kTick:
      return LoggedTick{{stored.tick().lapsed().begin(), stored.tick().lapsed().end()}};
    case v1::LoggedCall::kUpdate:
      return TakeUpdate(stored.update());
    case v1::LoggedCall::kRestore:
      return LoggedRestore{stored.restore().generation(), stored.restore().term()};
    case v1::LoggedCall::kImport:
      return LoggedImport{};
    case v1::LoggedCall::kTerm:
      return LoggedTerm{stored.term().term()};
    case v1::LoggedCall::kFailures:
      return TakeFailures(stored.failures());
    case v1::LoggedCall::CALL_NOT_SET:
      break;
  }
  return DamagedRecord(fmt::format("it is of type {} and holds no call", record.type));
}

}  // namespace

LogRecord RecordOf(const LoggedCall& call, Version version) {
  LogRecord record{
      .type = static_cast<uint8_t>(call.call.index() + 1), .term = version.term, .counter = version.counter};
  v1::LoggedCall stored;
  stored.set_time_nanos(call.time.count());
  std::visit([&](const auto& made) { Put(made, &record, &stored); }, call.call);
  record.body = stored.SerializeAsString();
  return record;
}

absl::StatusOr<LoggedCall> ParseCall(const LogRecord& record) {
  if (record.type < 1 || record.type > std::variant_size_v<LoggedCall::Call>) {
    return Error(absl::StatusCode::kFailedPrecondition, "NEWER_FORMAT",
                 fmt::format("the log has a record of type {}, this server knows types up to {}", record.type,
                             std::variant_size_v<LoggedCall::Call>));
  }
  v1::LoggedCall stored;
  if (!stored.ParseFromString(record.body)) {
    return DamagedRecord(fmt::format("it is of type {} and not a LoggedCall", record.type));
  }
  if (stored.call_case() != record.type) {
    return DamagedRecord(fmt::format("it is of type {} and holds a call of type {}", record.type,
                                     static_cast<int>(stored.call_case())));
  }
  LoggedCall call{.time = Duration(stored.time_nanos())};
  ASSIGN_OR_RETURN(call.call, TakeCall(record, stored));
  return call;
}

}  // namespace stepback

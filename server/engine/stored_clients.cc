#include "server/engine/stored_clients.h"

#include <fmt/format.h>

#include "server/base/errors.h"
#include "server/base/failpoint.h"
#include "server/base/status_macros.h"
#include "server/engine/stored_spec.h"

namespace stepback {
namespace {

void StoreError(const absl::Status& status, v1::StoredError* stored) {
  stored->set_code(static_cast<uint32_t>(status.code()));
  stored->set_message(std::string(status.message()));
  stored->set_reason(ReasonOf(status));
  for (const auto& [name, value] : MetadataOf(status)) {
    v1::StoredLabel* const label = stored->add_metadata();
    label->set_name(name);
    label->set_value(value);
  }
  if (const std::optional<double> seconds = RetryAfterOf(status)) stored->set_retry_after_seconds(*seconds);
}

absl::Status LoadError(const v1::StoredError& stored) {
  std::map<std::string, std::string> metadata;
  for (const v1::StoredLabel& label : stored.metadata()) metadata[label.name()] = label.value();
  const absl::Status status =
      Error(static_cast<absl::StatusCode>(stored.code()), stored.reason(), stored.message(), metadata);
  return stored.has_retry_after_seconds() ? WithRetryAfter(status, stored.retry_after_seconds()) : status;
}

void StoreAnswer(const PushAnswer& answer, v1::StoredAnswer* stored) {
  stored->set_outcome(static_cast<uint32_t>(answer.outcome));
  stored->set_term(answer.version.term);
  stored->set_counter(answer.version.counter);
  stored->set_sequence(answer.sequence);
  stored->set_reason(answer.reason);
  stored->set_staleness(answer.staleness);
  stored->set_settings_version(answer.settings_version);
  stored->set_inner_steps(answer.inner_steps);
  stored->set_outer_steps(answer.outer_steps);
  stored->set_samples(answer.samples);
  stored->set_finished(answer.finished);
  stored->set_loss_scale(answer.loss_scale);
  if (!answer.refusal.ok()) StoreError(answer.refusal, stored->mutable_refusal());
}

absl::StatusOr<PushAnswer> LoadAnswer(const v1::StoredAnswer& stored) {
  if (stored.outcome() < 1 || stored.outcome() > static_cast<uint32_t>(PushOutcome::kSkipped)) {
    return DamagedImage(fmt::format("the outcome of a push is {}", stored.outcome()));
  }
  PushAnswer answer{.outcome = static_cast<PushOutcome>(stored.outcome()),
                    .version = {.term = stored.term(), .counter = stored.counter()},
                    .sequence = stored.sequence(),
                    .reason = stored.reason(),
                    .staleness = stored.staleness(),
                    .settings_version = stored.settings_version(),
                    .inner_steps = stored.inner_steps(),
                    .outer_steps = stored.outer_steps(),
                    .samples = stored.samples(),
                    .finished = stored.finished(),
                    .loss_scale = stored.loss_scale()};
  if (stored.has_refusal()) answer.refusal = LoadError(stored.refusal());
  return answer;
}

absl::StatusOr<ClientRecord> LoadRecord(const v1::StoredClient& stored) {
  ClientRecord record{
      .epoch = stored.epoch(), .last_sequence = stored.last_sequence(), .pushes = stored.pushes()};
  for (const v1::StoredAnswer& answer : stored.answers()) {
    ASSIGN_OR_RETURN(record.answers.emplace_back(), LoadAnswer(answer));
  }
  for (const uint64_t sequence : stored.missing()) {
    const uint64_t before = record.missing.empty() ? 0 : record.missing.back();
    if (sequence <= before || sequence > record.last_sequence) {
      return DamagedImage(
          fmt::format("push {} is missing after {} of {}", sequence, before, record.last_sequence));
    }
    record.missing.push_back(sequence);
  }
  return record;
}

}  // namespace

void StoreClients(const ClientTable& clients, StoredClients* stored) {
  for (const auto& [id, record] : clients) {
    v1::StoredClient* const client = stored->Add();
    client->set_id(id);
    client->set_epoch(record->epoch);
    client->set_last_sequence(record->last_sequence);
    client->set_pushes(record->pushes);
    for (const PushAnswer& answer : record->answers) StoreAnswer(answer, client->add_answers());
    client->mutable_missing()->Add(record->missing.begin(), record->missing.end());
  }
}

absl::StatusOr<std::shared_ptr<const ClientTable>> LoadClients(const StoredClients& stored) {
  auto clients = std::make_shared<ClientTable>();
  for (const v1::StoredClient& client : stored) {
    ASSIGN_OR_RETURN(ClientRecord record, LoadRecord(client));
    if (record.last_sequence > 0 && FAILPOINT("plant.dedup_entry_dropped")) --record.last_sequence;
    clients->insert_or_assign(client.id(), std::make_shared<const ClientRecord>(std::move(record)));
  }
  return clients;
}

}  // namespace stepback

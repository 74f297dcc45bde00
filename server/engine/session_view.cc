#include "server/engine/session_view.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/base/errors.h"
#include "server/base/failpoint.h"

namespace stepback {
namespace {

constexpr size_t kAnswersKept = 8;  // decisions 1

}  // namespace

void SessionView::Merge(const ClientTable& clients) {
  for (const auto& [id, record] : clients) {
    Client& client = clients_[id];
    client.epoch = std::max(client.epoch, record->epoch);
    if (record->last_sequence < client.last_sequence) continue;
    client.last_sequence = record->last_sequence;
    client.missing = {record->missing.begin(), record->missing.end()};
    client.answers.assign(record->answers.begin(), record->answers.end());
  }
}

void SessionView::Opened(const std::string& client_id, uint64_t epoch, uint64_t last_sequence,
                         SessionRole role) {
  Client& client = clients_[client_id];
  client.epoch = epoch;
  client.session = absl::OkStatus();
  client.role = role;
  client.last_sequence = std::max(client.last_sequence, last_sequence);
}

void SessionView::Ended(const std::string& client_id, const absl::Status& why) {
  if (const auto found = clients_.find(client_id); found != clients_.end()) found->second.session = why;
}

void SessionView::Decided(const std::string& client_id, const PushAnswer& answer) {
  Client& client = clients_[client_id];
  if (client.missing.erase(answer.sequence) == 0 && answer.sequence <= client.last_sequence) return;
  client.last_sequence = std::max(client.last_sequence, answer.sequence);
  const auto after = std::upper_bound(client.answers.begin(), client.answers.end(), answer.sequence,
                                      [](uint64_t n, const PushAnswer& a) { return n < a.sequence; });
  client.answers.insert(after, answer);
  if (client.answers.size() > kAnswersKept) client.answers.pop_front();
}

absl::Status SessionView::CheckSession(const std::string& client_id, uint64_t epoch) const {
  const Client* const client = Find(client_id);
  if (client != nullptr && epoch < client->epoch && !FAILPOINT("plant.unfenced_epoch")) {
    return Error(absl::StatusCode::kFailedPrecondition, "FENCED",
                 fmt::format("model '{}': epoch {} of client '{}' is fenced, the newest is {}", model_name_,
                             epoch, client_id, client->epoch),
                 {{"epoch", std::to_string(client->epoch)}});
  }
  if (client == nullptr || epoch > client->epoch || client->session == absl::NotFoundError("")) {
    return Error(
        absl::StatusCode::kNotFound, "NO_SESSION",
        fmt::format("model '{}': client '{}' has no session of epoch {}", model_name_, client_id, epoch));
  }
  if (!client->session.ok()) return client->session;
  if (client->role == SessionRole::kReader) {
    return Error(absl::StatusCode::kFailedPrecondition, "READER_SESSION",
                 fmt::format("model '{}': client '{}' opened its session as a reader, it may not push",
                             model_name_, client_id));
  }
  return absl::OkStatus();
}

std::optional<absl::StatusOr<PushAnswer>> SessionView::Remembered(const std::string& client_id,
                                                                  uint64_t sequence) const {
  const Client* const client = Find(client_id);
  if (client == nullptr || sequence > client->last_sequence || client->missing.contains(sequence))
    return std::nullopt;
  const auto found = std::find_if(client->answers.begin(), client->answers.end(),
                                  [&](const PushAnswer& answer) { return answer.sequence == sequence; });
  if (found == client->answers.end()) {
    return PushAnswer{.outcome = PushOutcome::kDuplicate,
                      .sequence = sequence,
                      .reason = "decided before, its answer is not remembered"};
  }
  if (!found->refusal.ok()) return found->refusal;
  PushAnswer answer = *found;
  if (answer.outcome != PushOutcome::kDuplicate) answer.first_outcome = answer.outcome;
  answer.outcome = PushOutcome::kDuplicate;
  return answer;
}

uint64_t SessionView::last_sequence(const std::string& client_id) const {
  const Client* const client = Find(client_id);
  return client == nullptr ? 0 : client->last_sequence;
}

uint64_t SessionView::decided_sequence(const std::string& client_id) const {
  const Client* const client = Find(client_id);
  if (client == nullptr) return 0;
  return client->missing.empty() ? client->last_sequence : *client->missing.begin() - 1;
}

const SessionView::Client* SessionView::Find(const std::string& client_id) const {
  const auto found = clients_.find(client_id);
  return found == clients_.end() ? nullptr : &found->second;
}

}  // namespace stepback

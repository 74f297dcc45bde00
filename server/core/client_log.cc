#include "server/core/client_log.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/base/check.h"
#include "server/base/errors.h"

namespace stepback {

uint64_t ClientLog::last_sequence(const std::string& id) const {
  const ClientRecord* record = table_.Find(id);
  return record == nullptr ? 0 : record->last_sequence;
}

uint64_t ClientLog::pushes(const std::string& id) const {
  const ClientRecord* record = table_.Find(id);
  return record == nullptr ? 0 : record->pushes;
}

uint64_t ClientLog::epoch(const std::string& id) const {
  const ClientRecord* record = table_.Find(id);
  return record == nullptr ? 0 : record->epoch;
}

absl::Status ClientLog::Admit(const std::string& id, const std::function<bool(const std::string&)>& forget) {
  if (table_.size() < kMaxClients || table_.contains(id)) return absl::OkStatus();
  const auto idle = std::find_if(table_.begin(), table_.end(), [&](const ClientTable::value_type& entry) {
    return entry.second->last_sequence == 0 && forget(entry.first);
  });
  if (idle == table_.end()) {
    return Error(absl::StatusCode::kResourceExhausted, "TOO_MANY_CLIENTS",
                 fmt::format("client '{}' would be one more than the {} client ids that a model remembers",
                             id, kMaxClients));
  }
  table_.erase(std::string(idle->first));
  return absl::OkStatus();
}

void ClientLog::SetEpoch(const std::string& id, uint64_t epoch) {
  ClientRecord record = RecordOf(id);
  record.epoch = epoch;
  Store(id, std::move(record));
}

bool ClientLog::IsMissing(const std::string& id, uint64_t sequence) const {
  const ClientRecord* record = table_.Find(id);
  return record != nullptr && std::binary_search(record->missing.begin(), record->missing.end(), sequence);
}

std::vector<uint64_t> ClientLog::missing(const std::string& id) const {
  const ClientRecord* record = table_.Find(id);
  return record == nullptr ? std::vector<uint64_t>() : record->missing;
}

void ClientLog::Remember(const std::string& id, PushAnswer answer) {
  ClientRecord record = RecordOf(id);
  const bool missing = std::erase(record.missing, answer.sequence) > 0;
  SB_CHECK(missing || answer.sequence == record.last_sequence + 1, "%s: %llu after %llu", id.c_str(),
           static_cast<unsigned long long>(answer.sequence),
           static_cast<unsigned long long>(record.last_sequence));
  record.last_sequence = std::max(record.last_sequence, answer.sequence);
  ++record.pushes;
  const auto after = std::upper_bound(record.answers.begin(), record.answers.end(), answer.sequence,
                                      [](uint64_t n, const PushAnswer& a) { return n < a.sequence; });
  record.answers.insert(after, std::move(answer));
  if (record.answers.size() > kAnswersRemembered) record.answers.erase(record.answers.begin());
  Store(id, std::move(record));
}

std::shared_ptr<const ClientTable> ClientLog::Freeze(const Sequences& open) const {
  auto frozen = std::make_shared<ClientTable>(table_);
  for (const auto& [id, sequences] : open) {
    ClientRecord record = RecordOf(id);
    record.missing.insert(record.missing.end(), sequences.begin(), sequences.end());
    std::sort(record.missing.begin(), record.missing.end());
    record.pushes -= std::min<uint64_t>(record.pushes, sequences.size());
    std::erase_if(record.answers, [&](const PushAnswer& answer) {
      return std::binary_search(record.missing.begin(), record.missing.end(), answer.sequence);
    });
    frozen->insert_or_assign(id, std::make_shared<const ClientRecord>(std::move(record)));
  }
  return frozen;
}

std::optional<PushAnswer> ClientLog::Recall(const std::string& id, uint64_t sequence) const {
  const ClientRecord* record = table_.Find(id);
  if (record == nullptr) return std::nullopt;
  for (const PushAnswer& answer : record->answers) {
    if (answer.sequence == sequence) return answer;
  }
  return std::nullopt;
}

void ClientLog::Merge(const ClientTable& other) {
  for (const auto& [id, theirs] : other) {
    ClientRecord record = RecordOf(id);
    const uint64_t epoch = std::max(record.epoch, theirs->epoch);
    if (theirs->last_sequence > record.last_sequence) record = *theirs;
    record.epoch = epoch;
    Store(id, std::move(record));
  }
}

ClientRecord ClientLog::RecordOf(const std::string& id) const {
  const ClientRecord* record = table_.Find(id);
  return record == nullptr ? ClientRecord() : *record;
}

void ClientLog::Store(const std::string& id, ClientRecord record) {
  table_.insert_or_assign(id, std::make_shared<const ClientRecord>(std::move(record)));
}

}  // namespace stepback

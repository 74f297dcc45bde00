// Which pushes of which client were decided, and how: the memory behind exactly-once. Numbers belong to the
// client id and never restart; the epoch only fences (decisions 1). Owned by a Model, used on its strand.
//
//   if (sequence <= log.last_sequence(id)) return log.Recall(id, sequence);
//   log.Remember(id, answer);                       // decided: consumes answer.sequence
//   version->clients = log.Freeze();
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/core/client_table.h"

namespace stepback {

inline constexpr size_t kAnswersRemembered = 8;
inline constexpr size_t kMaxClients = 100'000;

class ClientLog {
 public:
  ClientLog() = default;
  explicit ClientLog(ClientTable table) : table_(std::move(table)) {}

  uint64_t last_sequence(const std::string& id) const;
  uint64_t pushes(const std::string& id) const;
  uint64_t epoch(const std::string& id) const;

  // Makes room for a new client by forgetting one that never pushed and that `forget` lets go (false: it is
  // in use); RESOURCE_EXHAUSTED(TOO_MANY_CLIENTS) when there is none. Nothing to do for a known client.
  absl::Status Admit(const std::string& id, const std::function<bool(const std::string&)>& forget);
  void SetEpoch(const std::string& id, uint64_t epoch);
  // Whether a recovery has lost the push: it is to be decided anew.
  bool IsMissing(const std::string& id, uint64_t sequence) const;
  std::vector<uint64_t> missing(const std::string& id) const;
  // answer.sequence is the client's next number, or a missing one.
  void Remember(const std::string& id, PushAnswer answer);
  // The first answer of a decided push; nullopt when it was decided more than 8 pushes ago.
  std::optional<PushAnswer> Recall(const std::string& id, uint64_t sequence) const;
  // Takes the records of `other` that know more.
  void Merge(const ClientTable& other);

  std::shared_ptr<const ClientTable> Freeze() const { return Freeze({}); }
  // `open`: pushes that were decided, in rounds that the version to which the table belongs is without.
  using Sequences = std::map<std::string, std::vector<uint64_t>>;
  std::shared_ptr<const ClientTable> Freeze(const Sequences& open) const;
  const ClientTable& table() const { return table_; }

 private:
  ClientRecord RecordOf(const std::string& id) const;
  void Store(const std::string& id, ClientRecord record);

  ClientTable table_;
};

}  // namespace stepback

// What the intake knows of the model's clients: enough to answer repeated and fenced pushes from their
// header, without reading a byte of payload. The truth is the core's client table; this is a copy that its
// strand keeps current, so a push that slips through is still decided right.
//
// A plain value, guarded by the intake's mutex.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "server/core/model_version.h"
#include "server/core/push.h"

namespace stepback {

class SessionView {
 public:
  explicit SessionView(std::string model_name) : model_name_(std::move(model_name)) {}

  // Takes what `clients` knows more (recovery, restore).
  void Merge(const ClientTable& clients);
  void Opened(const std::string& client_id, uint64_t epoch, uint64_t last_sequence, SessionRole role);
  // `why` is what its later calls hear.
  void Ended(const std::string& client_id, const absl::Status& why);
  // The push is decided: its number is used up and `answer` is the first answer.
  void Decided(const std::string& client_id, const PushAnswer& answer);

  // NOT_FOUND(NO_SESSION), FAILED_PRECONDITION(FENCED, READER_SESSION), or why the session ended.
  absl::Status CheckSession(const std::string& client_id, uint64_t epoch) const;
  // The first answer of a decided push, marked as a duplicate; its error when it was refused. nullopt: not
  // decided yet.
  std::optional<absl::StatusOr<PushAnswer>> Remembered(const std::string& client_id, uint64_t sequence) const;
  uint64_t last_sequence(const std::string& client_id) const;
  // Everything up to this one is decided: nothing is missing.
  uint64_t decided_sequence(const std::string& client_id) const;

 private:
  struct Client {
    uint64_t epoch = 0;
    absl::Status session = absl::NotFoundError("");  // OK: live
    SessionRole role = SessionRole::kTrainer;
    uint64_t last_sequence = 0;
    std::set<uint64_t> missing;      // up to last_sequence, but lost by a recovery: to be decided anew
    std::deque<PushAnswer> answers;  // of the last kAnswersKept decided, ascending
  };
  const Client* Find(const std::string& client_id) const;

  const std::string model_name_;
  std::map<std::string, Client> clients_;
};

}  // namespace stepback

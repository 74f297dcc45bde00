// Goes through a model's event log and derives again what can be derived: that versions follow each other,
// that each push counts once and with the weight that the settings give it, that a round closed only when its
// rule says so, that the totals add up. Pure: records in, findings out.
//
//   DecisionReplay replay;
//   for (...) for (const auto& finding : replay.Take(record)) ...
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/core/spec.h"
#include "server/core/version.h"
#include "stepback/v1/events.pb.h"

namespace stepback {

class DecisionReplay {
 public:
  struct Finding {
    bool contradiction = false;  // otherwise: something that the log does not tell
    std::string what;
  };
  struct Totals {
    uint64_t records = 0;
    uint64_t merges = 0;  // that made a version
    uint64_t pushes = 0;  // in them, with weight
    uint64_t dropped_rounds = 0;
    uint64_t refused = 0;  // pushes
    uint64_t missing = 0;  // records that are not in the log
    uint64_t contradictions = 0;
  };

  // In the order of the log.
  std::vector<Finding> Take(const v1::EventRecord& record);
  // Bytes of the log did not verify here: what they held is not known.
  void LoseTrack();

  const Totals& totals() const { return totals_; }
  // Of the last record; nullopt: unknown.
  const std::optional<Version>& version() const { return version_; }

 private:
  using PushKey = std::pair<std::string, uint64_t>;  // client, sequence
  struct Progress {
    uint64_t inner_steps = 0, outer_steps = 0, samples = 0;
    bool operator==(const Progress&) const = default;
  };
  struct Client {
    std::set<uint64_t> epochs;
    uint64_t newest = 0;
    bool trains = false;
  };

  void CheckNumber(const v1::EventRecord& record);
  void TakeSettings(const v1::EventRecord& record);
  void TakeMerge(const v1::EventRecord& record);
  void TakeDrop(const v1::EventRecord& record);
  void TakeSession(const v1::EventRecord& record);
  void TakeStart(const v1::EventRecord& record, bool recovered);
  void TakeRestore(const v1::EventRecord& record);
  void TakeImport(const v1::EventRecord& record);

  void CheckVersions(const v1::EventRecord& record);
  void CheckMembers(const v1::EventRecord& record);
  void CheckMember(const v1::EventRecord& record, const v1::MergeEvent::Member& member);
  void CheckWeight(const v1::EventRecord& record, const v1::MergeEvent::Member& member);
  void CheckStaleness(const v1::EventRecord& record, const v1::MergeEvent::Member& member);
  void CheckDecision(const v1::EventRecord& record);
  void CheckProgress(const v1::EventRecord& record);

  void Contradict(const v1::EventRecord& record, const std::string& what);
  void Note(const v1::EventRecord& record, const std::string& what);
  // The settings that the round's pushes were decided under: those since the round before.
  std::vector<const ModelSpec*> SettingsOf(const v1::MergeEvent& merge) const;

  std::vector<Finding> found_;
  Totals totals_;
  uint64_t next_number_ = 0;  // 0: unknown
  std::optional<Version> version_;
  uint64_t term_ = 0;  // the highest that was seen
  std::optional<Progress> progress_;
  std::map<uint64_t, Progress> progress_at_;  // by counter, where the log tells
  std::vector<ModelSpec> settings_;
  std::map<uint32_t, size_t> settings_at_;  // by fragment: of them, at the end of its last round
  std::map<std::string, Client> clients_;
  bool sessions_known_ = false;  // all of them, because the log tells of them since the server's start
  std::map<PushKey, Version> merged_;
};

}  // namespace stepback

// What must hold whatever happens, checked after every task of the server against a model of its own: each
// push of client c with number s adds 1 to count[c], s to sum[c] and 1 to all[0], so weights say exactly
// which pushes are in them; `samples` of client c is 2^(10 c), so the version's sample counter says it a
// second time.
//
//   - a version's weights are the serial reference's, bit for bit, and hold a prefix of every client's
//   decided pushes;
//   - versions never go back, across restarts too, and no version is served with two contents;
//   - a recovery brings back a version that was there, at least as new as what was called durable; in PUSH
//   all that was served and answered;
//   - a push is decided once: repeats get the first answer;
//   - an older epoch never gets a push in;
//   - what an operator restores has the weights of the labelled version, and no push that was decided by then
//   is decided again.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "server/engine/engine.h"
#include "tests/sim/plan.h"

namespace stepback::sim {

inline constexpr float kUnit = 60;  // divisible by every number of contributions that a round can have
inline uint64_t SamplesOf(size_t client) { return uint64_t{1} << (10 * client); }
std::string ClientId(size_t client);

class Oracle {
 public:
  explicit Oracle(const Plan& plan) : plan_(plan) {}

  // The published version, after any task; `weights` are its three tensors.
  void OnVersion(const ModelVersion& version, const std::vector<float>& weights, bool durable);
  // After a start: `loses_generation` when the newest snapshot was damaged on purpose.
  void OnRecovered(const ModelVersion& version, const std::vector<float>& weights, bool lost_generation);
  // A labelled snapshot of this version is on disk.
  void OnLabelled(const std::string& label, const Version& version);
  // An operator asks for it back, and hears that it is done.
  void OnRestoring(const std::string& label);
  void OnRestored();
  void OnAnswer(size_t client, uint64_t sequence, const absl::StatusOr<PushAnswer>& answer);
  // The server told somebody that this client's pushes are on disk up to this one.
  void OnDurable(size_t client, uint64_t sequence);
  // At the end: of which pushes each client knows that they were accepted, by number from 1.
  void OnEnd(const std::vector<std::vector<bool>>& accepted);
  void Violate(std::string what);

  const std::vector<std::string>& violations() const { return violations_; }
  Version version() const { return lineage_.empty() ? Version{} : lineage_.back().version; }

 private:
  struct Entry {
    Version version;
    std::vector<uint64_t> counts;   // of pushes in it, per client
    std::vector<uint64_t> decided;  // highest decided number per client
    std::vector<double> reference;  // weights as the serial reference has them
    uint64_t commits = 0;           // that its weights come from
    // Of the last restore that it comes from: up to where pushes had been decided then, and how many of them
    // are in.
    std::vector<uint64_t> restored_decided, restored_counts;
  };
  struct Decision {
    PushOutcome outcome;
    Version version;
  };

  // A newer version than the last; `restored`: by an operator.
  void Append(Entry now, const std::vector<float>& weights, bool restored);
  // After a start of a model whose pushes are logged.
  void OnReplayed(const Entry& recovered, const std::vector<float>& weights);
  Entry Describe(const ModelVersion& version, const std::vector<float>& weights) const;
  void CheckWeights(const Entry& before, const Entry& now, const std::vector<float>& weights);
  void CheckSums(const Entry& entry, const std::vector<float>& weights);
  // A version under a new term, without a restart: the labelled one, with all that was decided since.
  void CheckRestored(const Entry& before, Entry* now);
  bool SameContent(const Entry& a, const Entry& b) const {
    return a.reference == b.reference && a.counts == b.counts;
  }
  // fp32 thirds and fifths are not exact: then the reference follows the server within this.
  double slack() const;
  size_t clients() const { return plan_.clients; }

  const Plan& plan_;
  std::vector<Entry> lineage_;  // ascending; the versions that the present one comes from
  uint64_t newest_term_ = 0;
  size_t durable_ = 0;  // index in lineage_ of the newest that was called durable
  std::vector<uint64_t> durable_sequence_ = std::vector<uint64_t>(8);
  std::vector<uint64_t> highest_decided_ = std::vector<uint64_t>(8);
  std::map<std::pair<size_t, uint64_t>, Decision> decisions_;
  std::map<std::string, Entry> labelled_;
  std::string restoring_;  // the label that an operator asked for last, since the last start
  std::vector<std::string> violations_;
};

}  // namespace stepback::sim

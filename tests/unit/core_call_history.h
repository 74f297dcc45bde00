// Random histories of the calls that a log would hold, recorded while a model decides them, and replayed on
// others: the oracle is always a model that was never interrupted. Everything that a call told is kept as text,
// so that two models agree exactly when their texts do.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "server/core/model.h"
#include "server/core/open_state.h"
#include "tests/unit/core_support.h"

namespace stepback::core_test {

// One entry of a log. Copyable; payloads are shared.
struct Call {
  enum class Kind { kPush, kOpen, kClose, kEvict, kTick, kUpdate, kRestore, kImport, kRaiseTerm };
  Kind kind = Kind::kTick;
  TimePoint at;
  std::string client;
  uint64_t epoch = 0;
  SessionRole role = SessionRole::kTrainer;
  Push push;
  std::vector<std::string> lapsed;
  std::pair<std::string, double> value;
  std::shared_ptr<const ModelVersion> image;
  uint64_t term = 0;
  PushData weights;
  StepFailures failures;
};

// What a call told.
struct Told {
  std::string error;  // of a call that changed nothing
  std::vector<std::string> answers, events;
  std::string rest;
  friend bool operator==(const Told&, const Told&) = default;
};
Told TellOf(const Effects& effects);
std::string Show(const Told& told);

// Everything that decides later calls, but the ends of leases, which heartbeats move.
std::string TextOf(const OpenState& state);
// Version, settings, bits of all arrays, clients.
std::string TextOf(const ModelVersion& version);

// Makes the call; `failures`: the steps of it that failed.
Told Make(const Call& call, Model* model, StepFailures* failures = nullptr);

// What a history is drawn from, besides its specification.
struct Workload {
  std::string name;
  ModelSpec spec;
  std::vector<std::pair<std::string, std::vector<double>>> settings;  // that Update may choose from
  bool partial = false;  // pushes may lack tensors
};
std::vector<Workload> Workloads();
PushData FirstWeights(const ModelSpec& spec);

// A model, the calls that were made of it, and for every one what it told and what the model was after it.
class History {
 public:
  struct Entry {
    Call call;
    Told told;
    std::shared_ptr<const ModelVersion> version;  // after the call
    OpenState open;
    uint64_t unreported = 0;  // refusals of earlier calls that the next one reports
  };

  // `backend` may fail; it outlives the history.
  History(const Workload& workload, uint64_t seed, kernels::Backend* backend);
  void Grow(int calls);

  const std::vector<Entry>& entries() const { return entries_; }
  std::unique_ptr<Model> Fresh(kernels::Backend* backend) const;
  // A log's answer to FromImage.
  Model::FetchPush Fetch() const;

 private:
  uint64_t Below(uint64_t bound) { return random_() % bound; }
  std::string Client() { return std::string(1, static_cast<char>('a' + Below(5))); }
  const ClientRecord* Record(const std::string& client) const;
  void PassTime();
  void Beat();  // what a log does not hold
  Call Draw();
  Call DrawPush();
  Call DrawTick();
  Call DrawUpdate();
  PushData DrawData();
  PushHeader DrawHeader();
  void Add(Call call);

  Workload workload_;
  std::mt19937_64 random_;
  std::unique_ptr<Model> model_;
  TimePoint now_{std::chrono::hours(1)};
  std::vector<Entry> entries_;
  uint64_t unreported_ = 0;
};

}  // namespace stepback::core_test

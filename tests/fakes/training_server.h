// A small Stepback server for the client's tests: sessions, exactly-once, resumable parts, sync and async
// rounds, one snapshot, and faults on request. Speaks the proto's messages; transport.h and grpc_server.h put
// it behind a transport. Its arithmetic is the plainest there is (w -= mean of deltas; w -= 0.1 x mean of
// gradients), so that tests can work it out on paper. It knows nothing of the client's code.
//
// Threads: any; a handler may block until a round closes.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/base/mutex.h"
#include "stepback/v1/admin.pb.h"
#include "stepback/v1/model.pb.h"
#include "stepback/v1/training.pb.h"

namespace stepback::fakes {

// What goes wrong, and how often. Each counter falls by one when it strikes.
struct Faults {
  int break_uploads = 0;  // the connection breaks after `break_after_chunks` chunks
  int break_after_chunks = 0;
  uint64_t break_sequence = 0;  // of break_uploads: only this push's; 0: any
  uint64_t hold_sequence = 0;   // uploads of this push stop after `break_after_chunks` chunks until this changes
  int refuse_sequence = 0;      // this push is INVALID_ARGUMENT once, before its number is used up
  int lose_answers = 0;     // the push is decided, its answer never arrives
  int cancel_answers = 0;   // the same as CANCELLED: what gRPC makes of calls that wait while a server stops
  int break_downloads = 0;  // after `break_after_chunks` chunks of a version
  int corrupt_downloads = 0;
  int skip_commits = 0;
  int staging_full = 0;  // RESOURCE_EXHAUSTED with RetryInfo
  int forget_sessions = 0;
  int stale_fences = 0;  // a heartbeat is answered FENCED as if it had been sent under an earlier epoch
  int drop_rounds = 0;  // a closing round ends as ROUND_DROPPED
  bool down = false;    // every call fails with UNAVAILABLE
};

template <typename Message>
using Read = std::function<bool(Message*)>;  // false: nothing more comes
template <typename Message>
using Write = std::function<bool(const Message&)>;  // false: the caller is gone
using Alive = std::function<bool()>;

class TrainingServer {
 public:
  TrainingServer();
  ~TrainingServer();

  // Handlers.
  absl::Status Unary(const std::string& method, const std::string& request, std::string* response);
  absl::Status Create(const Read<v1::CreateModelRequest>& read, v1::CreateModelResponse* response);
  absl::Status Import(const Read<v1::ImportModelRequest>& read, v1::ImportModelResponse* response);
  absl::Status Export(const v1::ExportModelRequest& request, const Write<v1::ExportModelResponse>& write);
  absl::Status Push(const Read<v1::PushRequest>& read, const Alive& alive, v1::PushResponse* response);
  absl::Status Pull(const v1::PullRequest& request, const Alive& alive, const Write<v1::PullResponse>& write);
  absl::Status Step(const Read<v1::StepRequest>& read, const Alive& alive,
                    const Write<v1::StepResponse>& write);
  absl::Status Watch(const v1::WatchVersionsRequest& request, const Alive& alive,
                     const Write<v1::WatchVersionsResponse>& write);

  // The test's hand.
  void Inject(const std::function<void(Faults*)>& change);
  // Ends every blocked handler with UNAVAILABLE, forgets sessions and what came after the snapshot, raises
  // the term.
  void Restart();
  void Evict(const std::string& client_id);
  // Every call under way ends with UNAVAILABLE; sessions and what has arrived of uploads stay.
  void BreakConnections();
  // As new: no model, no faults, nothing counted.
  void Clear();
  // As RestoreSnapshot of the current weights: a new term, every session fenced as ROLLED_BACK.
  void RollBack();
  void SetHasDisk(bool has_disk);
  // Heeds PushHeader.save_soon, as the real one does: what is in a version then is on disk with the answer.
  void HeedSaveSoon();

  // What the test looks at.
  std::vector<std::string> weights() const;  // bytes per tensor
  std::vector<float> floats(size_t tensor) const;
  v1::Version version() const;
  uint64_t Count(
      const std::string& what) const;  // "push", "chunk", "resumed_bytes", "heartbeat", "open", "flush", ...
  v1::PushHeader last_push() const;
  std::vector<uint64_t> applied(
      const std::string& client_id) const;  // sequence numbers, in order of application

 private:
  struct Part;
  struct Contribution;
  struct Client;
  struct Model;

  absl::Status OpenSession(const v1::OpenSessionRequest& request, v1::OpenSessionResponse* response)
      REQUIRES(mu_);
  absl::Status CheckSession(const std::string& client_id, uint64_t epoch) REQUIRES(mu_);
  absl::Status Dispatch(const std::string& method, const std::string& request, std::string* response)
      REQUIRES(mu_);
  template <typename Message>
  absl::Status ReceivePart(const v1::PushHeader& header, const Read<Message>& read, const Alive& alive);
  absl::Status Await(const v1::PushHeader& header, const Alive& alive, v1::PushResponse* response);
  // Decides what has its turn: in order of sequence per client, one contribution per client and SYNC round.
  void DecideReady() REQUIRES(mu_);
  bool HasContributed(const std::string& client_id) const REQUIRES(mu_);
  void Decide(const v1::PushHeader& header, std::string payload) REQUIRES(mu_);
  void CloseRound() REQUIRES(mu_);
  void Apply(const std::vector<Contribution>& contributions) REQUIRES(mu_);
  bool RoundIsFull() const REQUIRES(mu_);
  uint64_t Generation() const;
  absl::Status WaitNewer(const v1::Version& since, uint64_t generation, const Alive& alive);
  template <typename Message>
  absl::Status SendVersion(const v1::PullRequest& request, uint64_t generation, const Write<Message>& write);
  std::string Encode(const v1::PullRequest& request) const REQUIRES(mu_);
  void FillModel(v1::Model* out, bool tensors) const REQUIRES(mu_);
  v1::Settings SettingsNow() const REQUIRES(mu_);
  void MakeDurable() REQUIRES(mu_);
  bool Strikes(int Faults::*fault);
  absl::Status CheckUp() const;

  mutable Mutex mu_;
  CondVar changed_;
  Faults faults_ GUARDED_BY(mu_);
  std::unique_ptr<Model> model_ GUARDED_BY(mu_);
  std::unique_ptr<Model> snapshot_ GUARDED_BY(mu_);
  uint64_t generation_ GUARDED_BY(mu_) = 1;  // of the process: rises with every restart
  uint64_t connection_ GUARDED_BY(mu_) = 1;  // rises with every break
  bool has_disk_ GUARDED_BY(mu_) = true;
  bool heeds_save_soon_ GUARDED_BY(mu_) = false;
  std::map<std::string, uint64_t> counts_ GUARDED_BY(mu_);
  v1::PushHeader last_push_ GUARDED_BY(mu_);
};

}  // namespace stepback::fakes

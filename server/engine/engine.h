// What rpc sees of the server: models by name, and per model the calls of the data path. All methods may be called from
// any thread and never block; results come through callbacks on an engine thread (or before the call returns).
//
//   engine->Find("lm") -> Handle;  handle->StartUpload(header, [](StatusOr<UploadStart>) {...});
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "server/base/clock.h"
#include "server/base/payload.h"
#include "server/base/pool.h"
#include "server/core/model.h"
#include "server/core/wire_layout.h"
#include "server/store/file_system.h"
#include "server/store/log_entry.h"
#include "server/telemetry/metrics.h"

namespace stepback {

template <typename T>
using Done = std::function<void(absl::StatusOr<T>)>;

// One part of a push as announced by its header; rpc/wire has checked syntax, the engine checks it against the model.
struct UploadRequest {
  PushHeader header;
  uint32_t part = 0;
  uint32_t part_count = 1;
  std::vector<ElementRange> ranges;   // empty: all
  uint64_t total_bytes = 0;
  uint64_t resume_offset = 0;
  std::string fingerprint;            // empty: not checked
  WorkerHealth health;
  bool save_soon = false;             // a snapshot, once a version contains the push (durability ROUND)
};

// One part arriving. Owned by its stream; used by one thread at a time. Dropping it without Finish parks the verified
// prefix for the lease (resume) or releases it under memory pressure. The budget reservation goes with it.
class Upload {
 public:
  virtual ~Upload() = default;
  // Verifies place, size, CRC32C and finiteness of one chunk and keeps its slices. An error ends the upload.
  virtual absl::Status AddChunk(uint64_t offset, uint32_t crc32c, Payload data) = 0;
  virtual uint64_t bytes_received() const = 0;
  // All bytes are in (else INVALID_ARGUMENT). Answered when the whole push is decided; a refusal comes as the error.
  virtual void Finish(Done<PushAnswer> done) = 0;
};

// Either an upload to feed, or the first answer of a push that was decided before (duplicate; its error if it was refused).
struct UploadStart {
  std::shared_ptr<Upload> upload;
  std::optional<PushAnswer> duplicate;
};

// A version that a reader holds. Pins its buffers until released; `revoked()` turns true when the reader holds up
// more than max_live_versions (it should end with ABORTED(VERSION_GONE)).
class PinnedVersion {
 public:
  virtual ~PinnedVersion() = default;
  virtual const ModelVersion& version() const = 0;
  virtual bool revoked() const = 0;
  virtual bool durable() const = 0;
  // Calls `callback` once when the version is revoked (at once if it is already), on an engine thread: a stream whose
  // reader has stalled asks for no chunk and would not notice otherwise. At most one callback; dropping the pin drops it.
  virtual void OnRevoked(std::function<void()> callback) = 0;
};

// In place of a codec: the values of the bf16 form that have changed, as they are now.
inline constexpr int kLosslessBf16 = -1;

// Reads one version chunk by chunk in a codec's form. f32 chunks are slices of the version's own buffers; other forms
// are encoded once per version and shared by all readers.
class PullReader {
 public:
  struct ChunkOut {
    uint64_t offset = 0;
    uint32_t crc32c = 0;
    Payload data;
  };
  virtual ~PullReader() = default;
  virtual uint64_t total_bytes() const = 0;
  virtual uint64_t chunk_count() const = 0;
  // ABORTED(VERSION_GONE) once revoked. Chunk `index` in 0..chunk_count-1; thread-safe.
  virtual absl::StatusOr<ChunkOut> Chunk(uint64_t index) = 0;
  virtual const PinnedVersion& pin() const = 0;  // may be newer than the one asked for, with differences
  // Of a PullSpec with a difference: what the payload is.
  struct Difference {
    int codec = kLosslessBf16;
    Version base;  // term 0: the payload is the full form
    uint64_t chain = 0;
    uint32_t count = 0;  // differences that follow one another
  };
  virtual std::optional<Difference> difference() const { return std::nullopt; }
};

// What a reader looks at: the slow weights, the fast ones, or an average by its name. Converts from the bare
// kind.
struct View {
  enum Kind : uint8_t { kEval, kTrain, kAverage };
  View(Kind kind = kEval,
       std::string average = "")  // NOLINT(runtime/explicit): PullSpec{.view = View::kTrain}
      : kind(kind), average(std::move(average)) {}
  Kind kind;
  std::string average;  // kAverage
  friend bool operator==(const View&, const View&) = default;
};

// What a reader asks for that can add differences: their codec or kLosslessBf16, the version that it has (term
// 0: none) and the chain that this came from (0, or PullReader::Difference::chain).
struct DifferenceSpec {
  int codec = kLosslessBf16;
  Version base;
  uint64_t chain = 0;
};

struct PullSpec {
  View view;
  int codec = 0;
  std::vector<ElementRange> ranges;   // empty: all, of the fragment if one is named
  uint64_t chunk_bytes = 1 << 20;
  std::optional<uint32_t> fragment;   // only its elements
  std::optional<DifferenceSpec> difference;  // not with ranges or fragment; `codec` is then not looked at
};

struct SessionOpened {
  OpenedSession session;
  uint64_t durable_sequence = 0;
  struct Partial {
    uint64_t sequence = 0;
    uint32_t part = 0;
    uint64_t bytes_received = 0;
  };
  std::vector<Partial> partial_uploads;
  std::shared_ptr<const ModelVersion> version;
};

struct HeartbeatAnswer {
  std::shared_ptr<const ModelVersion> version;
  uint64_t durable_sequence = 0;
};

struct SnapshotInfo {
  uint64_t generation = 0;
  std::string label;
  Version version;
  int64_t wall_nanos = 0;
  uint64_t bytes = 0;
  uint64_t inner_steps = 0, outer_steps = 0, samples = 0;
};

struct ModelInfo {
  std::shared_ptr<const ModelVersion> version;
  Version durable_version;          // term 0: none
  uint32_t sessions = 0;
  int64_t created_wall_nanos = 0;
  uint64_t state_bytes = 0;
  std::string unhealthy_reason;
  int64_t last_snapshot_wall_nanos = 0;
};

// Dropping it cancels the wait: the callback is dropped uncalled, unless its call has begun on another thread already.
struct Cancel {
  virtual ~Cancel() = default;
};

class Handle {
 public:
  virtual ~Handle() = default;
  virtual const std::string& name() const = 0;
  virtual std::shared_ptr<const Layout> layout() const = 0;

  virtual void Open(const OpenSession& request, Done<SessionOpened> done) = 0;
  virtual void Close(const std::string& client_id, uint64_t epoch, std::function<void(absl::Status)> done) = 0;
  virtual void Heartbeat(const std::string& client_id, uint64_t epoch, const WorkerHealth& health,
                         Done<HeartbeatAnswer> done) = 0;
  virtual void Evict(const std::string& client_id, std::function<void(absl::Status)> done) = 0;
  virtual void Sessions(Done<std::vector<SessionInfo>> done) = 0;

  // Checks the header against model and session, reserves its bytes (waiting up to admission_wait, then
  // RESOURCE_EXHAUSTED(STAGING_FULL) with RetryInfo), and gives an Upload. Dropping the returned Cancel withdraws.
  virtual std::unique_ptr<Cancel> StartUpload(UploadRequest request, Done<UploadStart> done) = 0;

  // The newest version, at once.
  virtual std::shared_ptr<PinnedVersion> Pin() = 0;
  // FAILED_PRECONDITION(AVERAGE_NOT_CONFIGURED) naming those that the model has; CODEC_UNKNOWN, BAD_CHUNK,
  // FRAGMENT_INVALID.
  virtual absl::StatusOr<std::unique_ptr<PullReader>> Read(std::shared_ptr<PinnedVersion> pin, const PullSpec& spec) = 0;
  // Called once when the published version is newer than `after` (at once if it is already), or with the error that
  // ends the wait: NOT_FOUND(MODEL_DELETED), UNAVAILABLE(DRAINING). `rounds_dropped` is for who waits with a BUFFERED push
  // for the version that contains it, `after` being the answer's version: the answer's PushAnswer::rounds_dropped. Then
  // ABORTED(ROUND_DROPPED) when that push's round came to nothing, also when it did before the call.
  // `fragment`: the wait is for a version that changed it.
  virtual std::unique_ptr<Cancel> WaitNewer(Version after, std::optional<uint64_t> rounds_dropped,
                                            Done<std::shared_ptr<PinnedVersion>> done,
                                            std::optional<uint32_t> fragment = std::nullopt) = 0;
  // For Waiting{reason}.
  virtual std::string WaitingFor() const = 0;
  virtual uint64_t DurableSequence(const std::string& client_id) const = 0;

  virtual void Update(std::vector<std::pair<std::string, double>> values, uint64_t expected_settings_version,
                      Done<ModelInfo> done) = 0;
  virtual ModelInfo Info() const = 0;
  virtual void StateHash(Done<std::string> done) = 0;
  virtual void SaveSnapshot(const std::string& label, Done<SnapshotInfo> done) = 0;   // done when durable
  virtual void ListSnapshots(Done<std::vector<SnapshotInfo>> done) = 0;
  virtual void RestoreSnapshot(const std::string& label, uint64_t generation, Done<ModelInfo> done) = 0;
  // Weights as dense f32/raw wire form in order (ImportModel after parsing); replaces weights, re-initialises state.
  virtual void Import(Payload dense, Done<ModelInfo> done) = 0;
  virtual void Flush(Done<Version> done) = 0;
  virtual void ReportMetrics(Version version, const std::vector<std::pair<std::string, double>>& values) = 0;
};

struct Created {
  std::shared_ptr<Handle> handle;
  bool created = false;
};

// Collects initial weights chunk by chunk before the model exists.
class CreateUpload {
 public:
  virtual ~CreateUpload() = default;
  virtual absl::Status AddChunk(uint64_t offset, uint32_t crc32c, Payload data) = 0;
  virtual void Finish(Done<Created> done) = 0;
};

class Engine {
 public:
  struct Options {
    std::string data_dir;                       // empty: nothing is written; durability must then be volatile or is treated so
    FileSystem* file_system = nullptr;          // default: POSIX
    Clock* clock = nullptr;                     // default: real
    kernels::Backend* backend = nullptr;        // default: CPU, best target
    kernels::Executor* executor = nullptr;      // default: oneTBB arena with compute_threads
    int compute_threads = 0;                    // 0: cores
    int strand_threads = 0;                     // 0: cores
    bool own_threads = true;                    // false: tasks run in RunOne (a simulator); no strand, I/O or control thread
    BufferPool* pool = nullptr;                 // default: own
    telemetry::Metrics* metrics = nullptr;      // default: own, unseen
    uint32_t models_max = 1000;
    uint64_t memory_bytes_max = 0;              // of all models' state and staging; 0: no bound but the pool's
    Duration admission_wait = std::chrono::seconds(10);
    double default_snapshot_interval_seconds = 60;
    uint32_t snapshots_kept = 2;
    uint64_t event_file_bytes = 64ull << 20;    // of a model's event log (event_log.h)
    uint32_t event_files_kept = 4;              // per model; 0: no event log
    LogRecovery recovery = LogRecovery::kStrict;  // of damaged logs (durability PUSH)
    double disk_bytes_per_second = 0;           // that the disk of data_dir takes; 0: measured when it matters
    uint64_t log_segment_bytes = 64ull << 20;   // preallocated per model with a log
    bool ticker = true;                         // false: tests call Tick()
  };
  // Recovers every model in data_dir (newest verified snapshot, term raised and fsynced) before it returns.
  static absl::StatusOr<std::unique_ptr<Engine>> Start(Options options);
  virtual ~Engine() = default;                  // stops: no snapshot is written (see Drain)

  // Checks spec and total_bytes against the layout before anything is allocated. created=false answers at Finish.
  virtual absl::StatusOr<std::unique_ptr<CreateUpload>> StartCreate(ModelSpec spec, bool zeros, int codec,
                                                                    uint64_t total_bytes) = 0;
  virtual absl::StatusOr<std::shared_ptr<Handle>> Find(const std::string& name) = 0;   // NOT_FOUND(MODEL_NOT_FOUND)
  virtual std::vector<std::shared_ptr<Handle>> List() = 0;                              // by name
  virtual void Delete(const std::string& name, std::function<void(absl::Status)> done) = 0;
  // Refuses new sessions, pushes and models (UNAVAILABLE(DRAINING)), answers waiting streams, writes a snapshot of every
  // model that changed, then calls done. Reads go on. Idempotent.
  virtual void Drain(std::function<void(absl::Status)> done) = 0;
  virtual bool draining() const = 0;
  virtual void Tick() = 0;                      // tests: leases, deadlines, snapshot intervals at clock->Now()
  virtual kernels::Backend* backend() = 0;
  // Without threads of its own: runs one of the `count` tasks that could come next, the one that `pick(count)` names (from 0);
  // false when there is none. Otherwise never anything to do.
  virtual bool RunOne(const std::function<size_t(size_t count)>& pick) {
    (void)pick;
    return false;
  }
};

}  // namespace stepback

// How to reach a server, and how long to try. Every duration and size has a default that suits a training
// job.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "stepback/info.h"
#include "stepback/tensor.h"

namespace stepback::client {

// TLS is used when any of these is set, or always with a non-loopback address unless `insecure`.
struct TlsOptions {
  std::string ca_file;      // PEM roots; empty: the system's
  std::string cert_file;    // PEM client certificate chain, with key_file: mTLS
  std::string key_file;     // PEM
  std::string server_name;  // expected in the server's certificate; empty: the address's host
  bool enabled() const {
    return !(ca_file.empty() && cert_file.empty() && key_file.empty() && server_name.empty());
  }
};

struct RetryOptions {
  std::chrono::milliseconds backoff_initial{100};
  std::chrono::milliseconds backoff_max{5000};
  double backoff_multiplier = 2;  // each wait is drawn from [0.5, 1] of the bound, so that workers spread
  // A call gives up (UNAVAILABLE) when the server could not be reached for this long.
  std::chrono::milliseconds give_up_after{std::chrono::minutes(10)};
};

struct ConnectOptions {
  std::string address = "localhost:7400";  // host:port, or "unix:/path"
  TlsOptions tls;
  bool insecure = false;  // plaintext to a non-loopback address
  int channels = 1;  // TCP connections shared by pulls and model transfers; each worker has one of its own
  std::chrono::milliseconds connect_timeout{10000};  // Connect waits this long for the server
  // Each small call; those that may be repeated are, until then, while the server cannot be reached.
  std::chrono::milliseconds control_timeout{10000};
  std::chrono::milliseconds idle_timeout{60000};     // a stream without any message for this long is broken
  RetryOptions retry;
  uint32_t chunk_bytes = 1 << 20;  // of streams; 4 KiB..4 MiB
  int chunks_in_flight = 4;        // chunks prepared ahead of the network; 1..64
  // Called about every 100 ms on the thread that waits; true ends the call with CANCELLED (Ctrl-C in an
  // interpreter).
  std::function<bool()> interrupted;
};

struct CreateOptions {
  std::string codec = "f32";  // wire form of the initial weights
};

struct PullOptions {
  // "eval" (slow weights), "train" (fast weights), "average:NAME"; empty: what the mode trains on.
  std::string view;
  std::optional<Version> since;          // not newer: PullInfo.modified = false and nothing is written
  bool wait = false;                     // wait until newer than `since`
  std::string codec;                     // wire form; empty: "f32" (Model) or what JoinOptions say (Worker)
  std::vector<ElementRange> ranges;      // Model::Pull: elements wanted; empty: all
  // Only this fragment's elements; `since` and `wait` look at its version. Sinks of other tensors are left
  // alone.
  std::optional<uint32_t> fragment;
  std::chrono::milliseconds timeout{0};  // 0: no limit beyond RetryOptions
};

struct JoinOptions {
  SessionRole role = SessionRole::kTrainer;
  // One worker (a data-parallel replica) may have several processes: `rank` of `ranks`, each pushing its
  // part. Rank 0 opens the session, the others attach to it (and wait for it).
  uint32_t rank = 0;
  uint32_t ranks = 1;
  // Elements that this rank pushes, ascending and disjoint; the ranks' ranges tile the model. Empty: an even
  // split, cut at multiples of the codecs' blocks with CARRIED tensors whole.
  std::vector<ElementRange> ranges;
  bool pull_ranges_only = false;  // pulls and steps receive `ranges` only (sharded trainers)
  std::string push_codec = "f32";
  std::string pull_codec = "f32";
  // Pulls and steps bring what has changed since the worker's last one, where that is less than everything
  // (docs/wire.md, "Differences"). "lossless_bf16": the weights are those of pull_codec "bf16", bit for bit. A
  // codec: the server keeps what a difference loses and sends it with the next ones, so the weights stay
  // within one rounding of the true ones, the same bits for every worker. Averages, and pulls that name a
  // codec, come in full. Takes 4 B per element unless the base has them (delta mode, one rank, nothing
  // frozen). Not with pull_ranges_only. Empty: always in full.
  std::string difference;
  // Adds what push_codec lost of earlier pushes to the next one (models in delta mode): with a codec of few
  // bits nothing of the sum of all deltas is lost for good. Takes 8 B per element that this rank pushes. The
  // residual belongs to this Worker: it survives lost connections and repeated pushes (which send the same
  // bytes again), stays as it was after a push that is refused or skipped, and starts from zero when the
  // server has lost pushes (Outcome::kResynced) and in a new Worker.
  bool error_feedback = false;
  // Share of the residual that is added, 0..1: 1 loses nothing; SparseLoCo uses 0.95.
  double error_feedback_decay = 1;
  // Durability ROUND: bytes of pushes kept for replay until they are on disk, those in flight included. 0:
  // max_in_flight + 1 pushes, at least 64 MiB. The last push that fits asks the server to write soon; who pushes
  // again before that is done waits for it. A BUFFERED model's worker sends what fills the round first.
  uint64_t replay_bytes_max = 0;
  // Pushes of PushAsync that may be on their way at once, 1..5; a further one waits. Each holds its payload, in its
  // wire form, until it is decided (durability ROUND: until it is on disk), and has a thread while the worker lives.
  // Above 1 not with several ranks and not with error_feedback.
  uint32_t max_in_flight = 1;
  // 0: a third of the lease.
  std::chrono::milliseconds heartbeat_interval{0};
};

struct PushOptions {
  uint64_t samples = 1;      // behind this push; the weight under Weighting::kSamples
  uint64_t local_steps = 1;  // inner steps since the base
  double loss_scale = 1;     // gradients are multiplied by this; the server divides
  std::optional<Health> health;
  // Which tensors this push has, by table index. Empty: those with data (one rank), or all (several ranks,
  // where it must be the same on every rank). FROZEN ones are ignored.
  std::vector<bool> present;
  // Which fragment this is a push of, and a Step receives; set exactly in a model of fragments. Tensors of
  // other fragments are left alone.
  std::optional<uint32_t> fragment;
  std::string view;                      // Step: as PullOptions.view, but no average: nobody trains on one
  std::chrono::milliseconds timeout{0};  // 0: no limit beyond RetryOptions
};

}  // namespace stepback::client

// A connection to a stepbackd: the way to models, and the operators' calls. Threads: any; calls block their
// thread.
//
//   auto server = Server::Connect({.address = "localhost:7400"});
//   if (!server.ok()) return server.status();
//   auto model = (*server)->CreateModel(definition, weights.data());
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "stepback/model.h"

namespace stepback::client {

class ServerImpl;

class Server {
 public:
  // Waits up to connect_timeout until the server answers; DEADLINE_EXCEEDED or UNAVAILABLE otherwise.
  static absl::StatusOr<std::shared_ptr<Server>> Connect(const ConnectOptions& options);
  explicit Server(std::shared_ptr<ServerImpl> impl);  // Connect makes servers
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // `weights`: one entry per tensor; empty: zeros. A model of that name with the same definition is returned
  // as it is (Model::created() is false); with another definition: ALREADY_EXISTS (MODEL_EXISTS).
  absl::StatusOr<Model> CreateModel(const ModelDefinition& definition, std::span<const TensorData> weights,
                                    const CreateOptions& options = {});
  absl::StatusOr<Model> OpenModel(const std::string& name);

  struct DescribeOptions {
    bool state_hash = false;  // reads all state once
    bool tensors = true;
  };
  absl::StatusOr<ModelInfo> DescribeModel(const std::string& name, const DescribeOptions& options);
  absl::StatusOr<ModelInfo> DescribeModel(const std::string& name);
  absl::StatusOr<std::vector<ModelInfo>> ListModels();  // all pages, without tensor tables
  // Dotted paths ("outer.lr", "rounds.quorum") to numbers. expected_settings_version 0: not checked.
  struct Updated {
    ModelInfo model;
    Version effective_version;
  };
  absl::StatusOr<Updated> UpdateModel(const std::string& name, const std::map<std::string, double>& values,
                                      uint64_t expected_settings_version = 0);
  absl::Status DeleteModel(const std::string& name);

  absl::StatusOr<SnapshotInfo> SaveSnapshot(const std::string& model, const std::string& label = "");
  absl::StatusOr<std::vector<SnapshotInfo>> ListSnapshots(const std::string& model);
  // By label, or by generation when the label is empty.
  absl::StatusOr<ModelInfo> RestoreSnapshot(const std::string& model, const std::string& label,
                                            uint64_t generation = 0);
  // Returns when every push acknowledged before the call is on disk; the durable version.
  absl::StatusOr<Version> Flush(const std::string& model);

  struct Exported {
    Version version;
    uint64_t bytes = 0;
  };
  using ByteSink = std::function<absl::Status(std::span<const std::byte>)>;
  // Fills the span and returns how many bytes it gave; 0 before the end is an error.
  using ByteSource = std::function<absl::StatusOr<size_t>(std::span<std::byte>)>;
  // One version as a safetensors file; view "train" or "eval" (default).
  absl::StatusOr<Exported> ExportModel(const std::string& model, const ByteSink& sink,
                                       const std::string& view = "");
  // Written aside and renamed: `path` is complete or as it was.
  absl::StatusOr<Exported> ExportModelToFile(const std::string& model, const std::string& path,
                                             const std::string& view = "");
  absl::StatusOr<ModelInfo> ImportModel(const std::string& model, uint64_t total_bytes,
                                        const ByteSource& source);
  absl::StatusOr<ModelInfo> ImportModelFromFile(const std::string& model, const std::string& path);

  absl::StatusOr<ServerInfo> Info();
  absl::StatusOr<RuleList> ListRules();
  absl::StatusOr<std::vector<SessionInfo>> ListSessions(
      const std::string& model = "");  // empty: of all models
  absl::Status EvictSession(const std::string& model, const std::string& client_id);
  absl::StatusOr<std::string> SetLogLevel(const std::string& level);  // the previous level
  absl::Status Drain();
  // grpc.health.v1: "SERVING", "NOT_SERVING", ...; service "" is the whole server.
  absl::StatusOr<std::string> CheckHealth(const std::string& service = "");

  const ConnectOptions& options() const;

 private:
  std::shared_ptr<ServerImpl> impl_;
};

}  // namespace stepback::client

// Everything that can be set on stepbackd, with its default. Filled by command_line.h from flags, environment
// and file; checked by validate.h; the names, bounds and help texts stand in settings.cc, one row per field.
// Immutable after start. The embedded server fills one by hand.
#pragma once

#include <cstdint>
#include <string>

#include "server/base/clock.h"
#include "server/telemetry/log.h"

namespace stepback {

// When must clients show a certificate? kAuto: off loopback yes, on loopback no.
enum class ClientCert { kAuto, kYes, kNo };

// What is done about damage in a model's log: refuse the model, take what lies before it, or all that is whole.
enum class LogDamage { kStrict, kPointInTime, kSalvage };

struct Config {
  struct Server {
    std::string listen = "127.0.0.1:7400";       // gRPC; port 0: any free one
    std::string http_listen = "127.0.0.1:7401";  // metrics, health, status page; empty: none
    std::string data_dir;                        // empty: nothing is kept across restarts
    bool insecure = false;                       // plaintext off loopback is meant
    Duration drain_timeout = std::chrono::seconds(30);
    std::string port_file;  // bound ports are written here as JSON
    bool dev = false;       // debug log as text, unless said otherwise
  } server;

  struct Tls {
    std::string cert_file;  // PEM chain; empty: no TLS
    std::string key_file;
    std::string client_ca_file;
    ClientCert require_client_cert = ClientCert::kAuto;
    bool enabled() const { return !cert_file.empty(); }
  } tls;

  struct Grpc {
    uint32_t io_threads = 0;  // 0: gRPC's choice
    uint64_t max_message_bytes = 8 << 20;
    // Per connection. Bounds what one peer can burden the server with before it is authenticated; a client
    // with more calls at once opens further connections.
    uint32_t max_concurrent_streams = 64;
  } grpc;

  struct Compute {
    std::string device = "cpu";  // cpu | cuda | cuda:N | auto
    std::string cpu_target;      // empty: the best that this machine has
    uint32_t threads = 0;        // 0: one per core
  } compute;

  struct Limits {
    uint32_t max_models = 1000;
    uint64_t memory_bytes_max = 0;  // state and staging of all models; 0: no bound
    Duration admission_wait = std::chrono::seconds(10);
  } limits;

  struct Session {
    Duration lease = std::chrono::seconds(60);  // of models that name none
  } session;

  struct Snapshot {
    Duration interval =
        std::chrono::seconds(60);  // of models that name none; 0: only on request and at the end
    uint32_t keep = 2;
  } snapshot;

  struct Events {
    uint64_t file_bytes = 64ull << 20;
    uint32_t files_kept = 4;  // per model; 0: no event log
  } events;

  struct Storage {
    LogDamage recovery = LogDamage::kStrict;
    uint64_t disk_bandwidth = 0;  // bytes per second that the disk of data_dir takes; 0: measured when it matters
  } storage;

  struct Metrics {
    uint32_t max_models = 200;
    uint32_t max_workers = 64;
  } metrics;

  LogOptions log;
};

}  // namespace stepback

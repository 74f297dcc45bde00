#include <cctype>
#include <iterator>
#include <regex>
#include <vector>

#include "server/config/listen_address.h"
#include "server/config/setting.h"
#include "server/config/setting_values.h"

namespace stepback {
namespace {

constexpr std::string_view kClientCertNames[] = {"auto", "true", "false"};
constexpr std::string_view kLogDamageNames[] = {"strict", "point_in_time", "salvage"};
constexpr std::string_view kLogFormatNames[] = {"text", "json"};

SettingValue Checked(SettingValue value, std::function<absl::Status(const std::string&)> check) {
  value.parse = [parse = value.parse, check = std::move(check)](const std::string& text, Config* config) {
    const absl::Status status = check(text);
    return status.ok() ? parse(text, config) : status;
  };
  return value;
}

template <typename Field>
SettingValue Address(Field field) {
  return Checked(Text(field, "host:port, [ipv6]:port or unix:/path; port 0: any free one"),
                 [](const std::string& text) { return ParseListenAddress(text).status(); });
}

template <typename Field>
SettingValue HttpAddress(Field field) {
  return Checked(
      Text(field, "host:port or [ipv6]:port; empty: none"), [](const std::string& text) -> absl::Status {
        if (text.empty()) return absl::OkStatus();
        ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(text));
        if (!address.is_unix()) return absl::OkStatus();
        return absl::InvalidArgumentError(fmt::format("'{}' is a unix socket; HTTP needs host:port", text));
      });
}

template <typename Field>
SettingValue Device(Field field) {
  return Checked(Text(field, "cpu, cuda, cuda:N or auto"), [](const std::string& text) {
    static const auto* form = new std::regex("cpu|auto|cuda(:[0-9]{1,3})?");
    if (std::regex_match(text, *form)) return absl::OkStatus();
    return absl::InvalidArgumentError(fmt::format("'{}' is not cpu, cuda, cuda:N or auto", text));
  });
}

std::vector<Setting> MakeServerSettings() {
  return {
      {"server.listen", "--listen", "Address of the gRPC service.", Address(SB_FIELD(server.listen))},
      {"server.http_listen", "--http-listen",
       "Address of metrics, health probes and the status page: read-only, without TLS or login.",
       HttpAddress(SB_FIELD(server.http_listen))},
      {"server.data_dir", "--data-dir", "Where models are kept across restarts.",
       Text(SB_FIELD(server.data_dir), "path; empty: nothing is kept")},
      {"server.insecure", "--insecure",
       "Serve plaintext off loopback: anyone who reaches the port may read and write.",
       Switch(SB_FIELD(server.insecure))},
      {"server.drain_timeout", "--drain-timeout", "After SIGTERM, time to finish pushes and write snapshots.",
       Span(SB_FIELD(server.drain_timeout), "0s", "1h")},
      {"server.port_file", "--port-file", "Write the bound ports to this file, as JSON.",
       Text(SB_FIELD(server.port_file), "path; empty: none")},
      {"server.dev", "--dev", "For trying things out: log at debug level, unless log.level is set.",
       Switch(SB_FIELD(server.dev))},
  };
}

std::vector<Setting> MakeTlsSettings() {
  return {
      {"tls.cert_file", "--tls-cert-file", "PEM certificate chain of the server; turns TLS on.",
       Text(SB_FIELD(tls.cert_file), "path; empty: no TLS")},
      {"tls.key_file", "--tls-key-file", "PEM private key of tls.cert_file.",
       Text(SB_FIELD(tls.key_file), "path")},
      {"tls.client_ca_file", "--tls-client-ca-file", "PEM certificates of the authorities that sign clients.",
       Text(SB_FIELD(tls.client_ca_file), "path")},
      {"tls.require_client_cert", "--tls-require-client-cert",
       "Refuse clients without a certificate of tls.client_ca_file; auto: off loopback.",
       Choice(SB_FIELD(tls.require_client_cert), kClientCertNames)},
  };
}

std::vector<Setting> MakeResourceSettings() {
  return {
      {"grpc.io_threads", "--io-threads", "Threads that move bytes; 0: gRPC's own choice.",
       Count(SB_FIELD(grpc.io_threads), 0, 1024)},
      {"grpc.max_message_bytes", "--max-message-bytes",
       "Largest message taken. Data travels in chunks of at most 4MiB, so this never has to grow with a "
       "model.",
       Bytes(SB_FIELD(grpc.max_message_bytes), "2MiB", "64MiB")},
      {"grpc.max_concurrent_streams", "--max-concurrent-streams",
       "Calls that one connection may have open at once.",
       Count(SB_FIELD(grpc.max_concurrent_streams), 1, 100000)},
      {"compute.device", "--device",
       "Where state lives and rules run; auto: a GPU if there is one, else the CPU.",
       Device(SB_FIELD(compute.device))},
      {"compute.cpu_target", "--cpu-target",
       "Instruction set of the CPU kernels; the results are the same bits.",
       Text(SB_FIELD(compute.cpu_target), "generic, avx2 or avx512; empty: the best there is")},
      {"compute.threads", "--compute-threads", "Threads for arithmetic; 0: one per core.",
       Count(SB_FIELD(compute.threads), 0, 1024)},
      {"limits.max_models", "--max-models", "Models that may exist at once.",
       Count(SB_FIELD(limits.max_models), 1, 100000)},
      {"limits.memory_bytes_max", "--memory-bytes-max",
       "Memory of all models' state and staging; 0: no bound.",
       Bytes(SB_FIELD(limits.memory_bytes_max), "0", "1024TiB")},
      {"limits.admission_wait", "--admission-wait",
       "How long a push may wait for staging memory before it is told to come back.",
       Span(SB_FIELD(limits.admission_wait), "0s", "10m")},
  };
}

std::vector<Setting> MakeModelSettings() {
  return {
      {"session.lease", "--session-lease",
       "Silence after which a worker counts as gone, for models that name none.",
       Span(SB_FIELD(session.lease), "1s", "24h")},
      {"snapshot.interval", "--snapshot-interval",
       "Time between automatic snapshots, for models that name none; 0s: on request and at the end only.",
       Span(SB_FIELD(snapshot.interval), "0s", "24h")},
      {"snapshot.keep", "--snapshot-keep", "Newest unlabelled snapshots kept per model; labelled ones stay.",
       Count(SB_FIELD(snapshot.keep), 2, 1000)},
      {"events.file_bytes", "--events-file-bytes", "Size at which a file of a model's event log is full.",
       Bytes(SB_FIELD(events.file_bytes), "64KiB", "1GiB")},
      {"events.files_kept", "--events-files-kept",
       "Files of its event log that a model keeps, the newest ones; 0: no event log.",
       Count(SB_FIELD(events.files_kept), 0, 1000)},
      {"storage.recovery", "--recovery",
       "Damage in the log of a model of durability PUSH: strict refuses the model, point_in_time takes what "
       "lies "
       "before it, salvage all that is whole. Acknowledged pushes are lost by the latter two.",
       Choice(SB_FIELD(storage.recovery), kLogDamageNames)},
      {"storage.disk_bandwidth", "--disk-bandwidth",
       "Bytes per second that the disk of server.data_dir takes, for models that declare their push rate; 0: "
       "measured when the first one does.",
       Bytes(SB_FIELD(storage.disk_bandwidth), "0", "1TiB")},
      {"metrics.max_models", "--metrics-max-models",
       "Models with series of their own; further ones share \"_other\".",
       Count(SB_FIELD(metrics.max_models), 1, 10000)},
      {"metrics.max_workers", "--metrics-max-workers",
       "Workers per model with series of their own; further ones share \"_other\".",
       Count(SB_FIELD(metrics.max_workers), 1, 10000)},
      {"log.level", "--log-level", "Least level that is written; changes at run time through SetLogLevel.",
       Choice(SB_FIELD(log.level), kLogLevelNames)},
      {"log.format", "--log-format", "One event per line.", Choice(SB_FIELD(log.format), kLogFormatNames)},
      {"log.file", "--log-file", "Log file, rotated at 64MiB, four kept.",
       Text(SB_FIELD(log.file), "path; empty: standard error")},
  };
}

std::vector<Setting> MakeSettings() {
  std::vector<Setting> all;
  for (const auto& make : {MakeServerSettings, MakeTlsSettings, MakeResourceSettings, MakeModelSettings}) {
    for (Setting& setting : make()) all.push_back(std::move(setting));
  }
  return all;
}

}  // namespace

std::string Setting::EnvName() const {
  std::string env = fmt::format("STEPBACK_{}__{}", section(), name());
  for (char& c : env) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return env;
}

std::string Setting::Shown(const Config& config) const {
  const std::string text = value.format(config);
  return secret && !text.empty() ? "<redacted>" : text;
}

std::span<const Setting> Settings() {
  static const auto* settings = new std::vector<Setting>(MakeSettings());
  return *settings;
}

}  // namespace stepback

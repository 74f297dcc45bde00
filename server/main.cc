// stepbackd: configuration to Server, signals to Drain and Shutdown, results to exit codes.
//
//   SIGTERM, SIGINT   not ready, no new work, snapshots, then exit 0; 143 when that takes longer than the
//   drain timeout the same again    exit 143 at once SIGHUP            logged; certificates are watched
//   anyway
#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <iostream>
#include <memory>
#include <string_view>

#include "server/base/failpoint_names.h"
#include "server/base/malloc_tuning.h"
#include "server/config/command_line.h"
#include "server/config/port_file.h"
#include "server/config/validate.h"
#include "server/rpc/server.h"
#include "server/telemetry/build_info.h"
#include "server/telemetry/log.h"

namespace stepback {
namespace {

constexpr Duration kLastCallsGrace = std::chrono::seconds(1);

void LogGrpc(gpr_log_func_args* args) {
  if (args->severity == GPR_LOG_SEVERITY_DEBUG) return LogExternal(LogLevel::kDebug, "grpc", args->message);
  LogExternal(args->severity == GPR_LOG_SEVERITY_ERROR ? LogLevel::kWarn : LogLevel::kInfo, "grpc",
              args->message);
}

// A peer's bytes are what protobuf complains of, and the peer is told: nothing that may fill an operator's
// log.
void LogProtobuf(google::protobuf::LogLevel, const char*, int, const std::string& message) {
  LogExternal(LogLevel::kDebug, "protobuf", message);
}

// Blocked before any thread starts, so that only the main thread's waits see them.
sigset_t BlockSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return signals;
}

// The next signal, or 0 after `limit`.
int WaitForSignal(const sigset_t& signals, Duration limit) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limit);
  const timespec timeout = {.tv_sec = seconds.count(), .tv_nsec = (limit - seconds).count()};
  const int signal = sigtimedwait(&signals, nullptr, &timeout);
  return signal > 0 ? signal : 0;
}

void WaitForStop(const sigset_t& signals) {
  while (true) {
    const int signal = WaitForSignal(signals, std::chrono::hours(1));
    if (signal == SIGTERM || signal == SIGINT) return;
    if (signal == SIGHUP)
      Log(LogLevel::kInfo, "reload", {{"message", "certificate files are watched; nothing to do"}});
  }
}

struct DrainState {
  std::atomic<bool> done = false;
  absl::Status status;  // valid once done
};

// False: the time ran out, or a second signal forced the end.
bool WaitForDrain(const DrainState& drain, const sigset_t& signals, Duration timeout) {
  const TimePoint end = Clock::Real()->Now() + timeout;
  while (!drain.done && Clock::Real()->Now() < end) {
    const int signal = WaitForSignal(signals, std::chrono::milliseconds(20));
    if (signal == SIGTERM || signal == SIGINT) return false;
  }
  return drain.done;
}

ExitCode Stop(Server* server, const sigset_t& signals, Duration timeout) {
  const auto drain = std::make_shared<DrainState>();
  server->Drain([drain](const absl::Status& status) {
    drain->status = status;
    drain->done = true;
  });
  if (!WaitForDrain(*drain, signals, timeout)) {
    Log(LogLevel::kWarn, "server_stopped", {{"drained", false}});
    FlushLog();
    _exit(kExitDrainTimeout);  // work is still open; running destructors under it would wait for it
  }
  server->Shutdown(kLastCallsGrace);
  Log(drain->status.ok() ? LogLevel::kInfo : LogLevel::kError, "server_stopped",
      {{"drained", true}, {"status", drain->status.ToString()}});
  return drain->status.ok() ? kExitOk : kExitRuntime;
}

ExitCode ExitCodeOf(const absl::Status& status) {
  if (ReasonOf(status) == "BIND_FAILED") return kExitBind;
  if (absl::IsDataLoss(status)) return kExitCorruptState;
  return absl::IsInvalidArgument(status) ? kExitUsage : kExitRuntime;
}

ExitCode Fail(const absl::Status& status) {
  Log(LogLevel::kError, "start_failed",
      {{"reason", ReasonOf(status)}, {"message", std::string(status.message())}});
  FlushLog();
  return ExitCodeOf(status);
}

ExitCode Serve(const Config& config) {
  const sigset_t signals = BlockSignals();
  gpr_set_log_function(&LogGrpc);
  google::protobuf::SetLogHandler(&LogProtobuf);
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(config);
  if (!server.ok()) return Fail(server.status());
  if (!config.server.port_file.empty()) {
    const BoundPorts ports = {.grpc = (*server)->grpc_port(), .http = (*server)->http_port()};
    if (absl::Status status = WritePortFile(config.server.port_file, ports); !status.ok())
      return Fail(status);
  }
  WaitForStop(signals);
  const ExitCode code = Stop(server->get(), signals, config.server.drain_timeout);
  server->reset();
  FlushLog();
  return code;
}

ExitCode ValidateAndServe(const Config& config) {
  for (const absl::Status& status : {Validate(config), ConfigureLog(config.log)}) {
    if (status.ok()) continue;
    std::cerr << "stepbackd: " << status.message() << '\n';
    return kExitUsage;
  }
  return Serve(config);
}

#ifdef STEPBACK_FAILPOINTS
void ListFailpoints() {
  for (const std::string_view name : kFailpointNames) std::cout << name << '\n';
}
#endif

ExitCode Main(int argc, char** argv) {
#ifdef STEPBACK_FAILPOINTS
  if (argc == 2 && std::string_view(argv[1]) == "--list-failpoints") {
    ListFailpoints();
    return kExitOk;
  }
#endif
  const absl::StatusOr<Invocation> invocation = ParseCommandLine(argc, argv, ProcessEnvironment());
  if (!invocation.ok()) {
    std::cerr << "stepbackd: " << invocation.status().message() << '\n';
    return kExitUsage;
  }
  if (const auto code = RunConfigCommand(*invocation, std::cout, std::cerr)) return *code;
  if (invocation->action == Invocation::kShowVersion) {
    std::cout << VersionLine(CurrentBuild(), "stepbackd") << '\n';
    return kExitOk;
  }
  return ValidateAndServe(invocation->config);
}

}  // namespace
}  // namespace stepback

int main(int argc, char** argv) {
  stepback::KeepFreedMemory();
  return stepback::Main(argc, argv);
}

// load push | pull | step: a load with percentiles and rates; exit code 1 on errors or a broken assertion.
#include "client/cli/commands.h"
#include "client/cli/durations.h"
#include "client/cli/load/assertions.h"
#include "client/cli/load/report.h"
#include "fmt/core.h"
#include "server/base/status_macros.h"

namespace stepback::cli {
namespace {

using load::Action;
using load::Options;

constexpr double kDurationMax = 3600;

struct Arguments {
  Options options;
  std::string size = "1M", duration = "10s", warmup = "1s";
  bool allow_remote = false;
};

bool IsLoopback(const std::string& address) {
  for (const char* prefix : {"127.", "localhost", "[::1]", "unix:"}) {
    if (address.rfind(prefix, 0) == 0) return true;
  }
  return false;
}

absl::StatusOr<Options> Resolve(const Context& context, const Arguments& a) {
  Options options = a.options;
  if (!a.allow_remote && !IsLoopback(context.connect.address)) {
    return absl::FailedPreconditionError(fmt::format(
        "'{}' is not on this host: say --allow-remote to put load on it", context.connect.address));
  }
  ASSIGN_OR_RETURN(options.parameters, ParseCount(a.size));
  ASSIGN_OR_RETURN(options.duration_seconds, ParseSeconds(a.duration));
  ASSIGN_OR_RETURN(options.warmup_seconds, ParseSeconds(a.warmup));
  if (options.parameters < 1) return absl::InvalidArgumentError("--model-size 0: at least 1");
  if (options.duration_seconds <= 0 || options.duration_seconds + options.warmup_seconds > kDurationMax) {
    return absl::InvalidArgumentError(
        fmt::format("--duration {}: above 0, with the warm-up at most {} s", a.duration, kDurationMax));
  }
  if (options.mode.empty()) options.mode = options.action == Action::kPush ? "gradient" : "delta";
  return options;
}

absl::Status Load(const Context& context, const Arguments& a) {
  ASSIGN_OR_RETURN(const Options options, Resolve(context, a));
  ASSIGN_OR_RETURN(const auto assertions, load::ParseAssertions(options.assertions));
  ASSIGN_OR_RETURN(const load::Result result, load::RunScenario(context.connect, options));
  if (context.json()) {
    PrintJson(load::ToJson(result));
  } else {
    fmt::print("{}", load::ToText(result));
  }
  RETURN_IF_ERROR(load::CheckAssertions(assertions, load::Figures(result)));
  if (result.total.requests == 0) return absl::DeadlineExceededError("no request ended within the duration");
  if (result.total.errors == 0) return absl::OkStatus();
  return absl::UnknownError(fmt::format("{} of {} requests failed; first: {}", result.total.errors,
                                        result.total.requests, result.total.first_error));
}

void RegisterAction(CLI::App& group, Context& context, Action action, const char* help) {
  const auto a = std::make_shared<Arguments>();
  a->options.action = action;
  CLI::App* c = AddCommand(group, context, NameOf(action), help, [&context, a] { return Load(context, *a); });
  c->add_option("-c,--concurrency", a->options.concurrency, "Workers")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  c->add_option("-d,--duration", a->duration, "Measured time")->capture_default_str();
  c->add_option("--warmup", a->warmup, "Time before, not measured")->capture_default_str();
  c->add_option("--model-size", a->size, "Parameters of the temporary model, e.g. 100M")
      ->capture_default_str();
  c->add_option("--tensors", a->options.tensors, "Tensors")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  c->add_option("--codec", a->options.codec, "Wire form of numbers")->capture_default_str();
  if (action != Action::kPull) {
    c->add_option("--mode", a->options.mode, "gradient or delta (push: gradient, step: delta)")
        ->check(CLI::IsMember({"gradient", "delta"}));
  }
  c->add_option("--rate", a->options.rate, "Requests per second of all workers, open loop (0: closed loop)")
      ->check(CLI::NonNegativeNumber);
  c->add_option("--assert", a->options.assertions, "e.g. 'p99<0.5s,errors==0'; exit code 1 when broken");
  c->add_flag("--allow-remote", a->allow_remote, "Allow a server that is not on this host");
}

}  // namespace

void RegisterLoad(CLI::App& app, Context& context) {
  CLI::App& group = *AddGroup(app, "load", "Measure a server with a temporary model");
  RegisterAction(group, context, Action::kPush, "Every worker pushes; each push is applied at once");
  RegisterAction(group, context, Action::kPull, "Every worker pulls");
  RegisterAction(group, context, Action::kStep,
                 "Push, wait for the round of all workers, receive the new version");
}

}  // namespace stepback::cli

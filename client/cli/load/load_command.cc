// stepback load push|pull|step.
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <memory>

#include "client/cli/commands.h"
#include "client/cli/definition_args.h"
#include "client/cli/error_report.h"
#include "client/cli/load/load_runner.h"
#include "client/cli/load/report.h"
#include "client/cli/units.h"
#include "server/base/status_macros.h"

namespace stepback::cli {
namespace {

constexpr double kDurationSecondsMax = 3600;

struct Args {
  LoadOptions options;
  std::string duration = "10s", warmup = "2s", model_size = "1M", mode, policy, durability = "volatile",
              assertions;
  bool allow_remote = false;
};

template <typename T>
absl::Status Take(const absl::StatusOr<T>& parsed, T* out) {
  if (!parsed.ok()) return UsageError(std::string(parsed.status().message()));
  *out = *parsed;
  return absl::OkStatus();
}

bool IsLoopback(const std::string& address) {
  const auto starts = [&](const char* prefix) { return address.rfind(prefix, 0) == 0; };
  return starts("localhost:") || starts("127.") || starts("[::1]:") || starts("unix:");
}

absl::Status Check(const LoadOptions& options) {
  if (options.duration_seconds <= 0 ||
      options.duration_seconds + options.warmup_seconds > kDurationSecondsMax) {
    return UsageError(
        fmt::format("warm-up and duration are {} s, expected more than 0 and at most {} s together",
                    options.warmup_seconds + options.duration_seconds, kDurationSecondsMax));
  }
  if (options.tensors > options.parameters) {
    return UsageError(
        fmt::format("--tensors is {}, the model has {} parameters", options.tensors, options.parameters));
  }
  if (client::NameOf(options.durability) == "push" || client::NameOf(options.durability) == "replicated") {
    return UsageError("--durability is volatile or round");
  }
  return absl::OkStatus();
}

absl::StatusOr<LoadOptions> OptionsOf(const Args& args) {
  LoadOptions options = args.options;
  RETURN_IF_ERROR(Take(ParseSeconds(args.duration), &options.duration_seconds));
  RETURN_IF_ERROR(Take(ParseSeconds(args.warmup), &options.warmup_seconds));
  RETURN_IF_ERROR(Take(ParseCount(args.model_size), &options.parameters));
  // Gradients cost the client nothing; a step is what delta training does.
  const std::string mode = !args.mode.empty()                      ? args.mode
                           : options.operation == Operation::kStep ? "delta"
                                                                   : "gradient";
  RETURN_IF_ERROR(Take(ParseWord<client::Mode>(mode), &options.mode));
  RETURN_IF_ERROR(Take(ParseWord<client::Durability>(args.durability), &options.durability));
  // A step waits for its round: by default a round of all workers.
  const std::string policy = !args.policy.empty()                    ? args.policy
                             : options.operation == Operation::kStep ? "sync"
                                                                     : "async";
  RETURN_IF_ERROR(Take(ParseWord<client::RoundPolicy>(policy), &options.policy));
  RETURN_IF_ERROR(Check(options));
  return options;
}

absl::Status Load(const Args& args, const Context& context) {
  ASSIGN_OR_RETURN(const LoadOptions options, OptionsOf(args));
  std::vector<Assertion> assertions;
  RETURN_IF_ERROR(Take(ParseAssertions(args.assertions), &assertions));
  if (!args.allow_remote && !IsLoopback(context.address())) {
    return UsageError(
        fmt::format("'{}' is not on this machine: say --allow-remote to load it", context.address()));
  }
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  ASSIGN_OR_RETURN(const LoadResult result, RunLoad(server.get(), options));
  if (context.json()) {
    std::cout << LoadJson(options, result, assertions, context.address()).dump(2) << "\n";
  } else {
    std::cout << LoadText(options, result, assertions);
  }
  const bool all_hold = std::all_of(assertions.begin(), assertions.end(), [&](const Assertion& assertion) {
    return Holds(assertion, MetricOf(result, assertion.metric));
  });
  if (!all_hold) return absl::FailedPreconditionError("an assertion does not hold");
  if (result.errors > 0) return absl::UnknownError(fmt::format("{} requests failed", result.errors));
  if (result.interrupted) return absl::CancelledError("interrupted");
  if (result.requests == 0) return absl::DeadlineExceededError("no request ended in time");
  return absl::OkStatus();
}

void AddOptions(CLI::App* app, Args* args) {
  app->add_option("-c,--concurrency", args->options.concurrency, "Workers, each with a connection of its own")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app->add_option("-d,--duration", args->duration, "Length of the counted part")->capture_default_str();
  app->add_option("--warmup", args->warmup, "Before the counted part")->capture_default_str();
  app->add_option("--rate", args->options.rate,
                  "Requests per second of all workers (open loop); 0: closed loop")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  app->add_option("--model-size", args->model_size, "Parameters of the temporary model, e.g. 100M")
      ->capture_default_str();
  app->add_option("--tensors", args->options.tensors, "Tensors of the temporary model")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  app->add_option("--codec", args->options.codec, "Wire form of pushes, and of pulls")->capture_default_str();
  app->add_option("--pull-codec", args->options.pull_codec, "Wire form of pulls; default: as --codec");
  app->add_option("--difference", args->options.difference,
                  "Pull differences: lossless_bf16 or a codec; pulls are then in full in bf16 or f32");
  app->add_flag("--error-feedback", args->options.error_feedback,
                "Add what the codec lost to the next push (delta mode)");
  app->add_option("--mode", args->mode, "gradient or delta; default: gradient, and delta for step");
  app->add_option("--policy", args->policy, "sync, async or buffered; default: async, and sync for step");
  app->add_option("--durability", args->durability, "volatile or round")->capture_default_str();
  app->add_option("--assert", args->assertions,
                  "Conditions, e.g. 'p99<0.5s,errors==0'; a false one is an error");
  app->add_flag("--allow-remote", args->allow_remote, "Load a server on another machine");
}

}  // namespace

void AddLoadCommand(CLI::App* app, Context* context) {
  CLI::App* load = app->add_subcommand("load", "Measure pushes, pulls or steps on a temporary model");
  load->require_subcommand(1);
  load->fallthrough();
  const auto add = [&](const char* name, const char* help, Operation operation) {
    const auto args = std::make_shared<Args>();
    args->options.operation = operation;
    AddOptions(AddCommand(load, context, name, help, [=] { return Load(*args, *context); }), args.get());
  };
  add("push", "Pushes, answered when they are decided", Operation::kPush);
  add("pull", "Pulls of the newest version", Operation::kPull);
  add("step", "Push, wait for the round, receive the new version", Operation::kStep);
}

}  // namespace stepback::cli

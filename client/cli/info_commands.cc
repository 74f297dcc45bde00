// version | server info | health | rules.
#include "client/cli/commands.h"
#include "client/cli/json.h"
#include "client/cli/table.h"
#include "fmt/core.h"
#include "fmt/ranges.h"
#include "server/base/status_macros.h"

#ifndef STEPBACK_VERSION
#define STEPBACK_VERSION "0.1.0"
#endif

namespace stepback::cli {
namespace {

absl::Status Version(const Context& context) {
  if (context.json()) {
    PrintJson({{"version", STEPBACK_VERSION}});
  } else {
    fmt::print("stepback {}\n", STEPBACK_VERSION);
  }
  return absl::OkStatus();
}

absl::Status Info(const Context& context) {
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  ASSIGN_OR_RETURN(const auto info, server->Info());
  if (context.json()) {
    PrintJson(ToJson(info));
    return absl::OkStatus();
  }
  Table table({"FIELD", "VALUE"});
  for (const auto& [name, value] : ToJson(info).items()) {
    table.Add({name, value.is_string() ? value.get<std::string>() : value.dump()});
  }
  table.Print();
  return absl::OkStatus();
}

// Exit code 1 unless the server serves.
absl::Status Health(const Context& context) {
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  ASSIGN_OR_RETURN(const std::string status, server->CheckHealth());
  if (context.json()) {
    PrintJson({{"status", status}});
  } else {
    fmt::print("{}\n", status);
  }
  return status == "SERVING" ? absl::OkStatus() : absl::UnavailableError("the server is not serving");
}

std::string Bounds(const client::HyperInfo& h) {
  return fmt::format("{}{}, {}{}", h.min_open ? "(" : "[", h.min, h.max, h.max_open ? ")" : "]");
}

absl::Status Rules(const Context& context) {
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  ASSIGN_OR_RETURN(const auto list, server->ListRules());
  if (context.json()) {
    PrintJson({{"rules", ToJsonList(list.rules)}, {"codecs", ToJsonList(list.codecs)}});
    return absl::OkStatus();
  }
  Table table({"KIND", "RULE", "HYPERPARAMETER", "DEFAULT", "BOUNDS", "MEANING"});
  for (const client::RuleInfo& rule : list.rules) {
    for (const client::HyperInfo& h : rule.hypers) {
      table.Add({rule.kind, rule.name, h.name, fmt::format("{}", h.default_value), Bounds(h), h.doc});
    }
  }
  table.Print();
  fmt::print("\n");
  Table codecs({"CODEC", "BLOCK", "ERROR BOUND"});
  for (const client::CodecInfo& codec : list.codecs) {
    codecs.Add({codec.name, std::to_string(codec.block_elements), codec.error_bound});
  }
  codecs.Print();
  return absl::OkStatus();
}

}  // namespace

void RegisterInfoCommands(CLI::App& app, Context& context) {
  AddCommand(app, context, "version", "Version of this command", [&context] { return Version(context); });
  CLI::App& server = *AddGroup(app, "server", "The server itself");
  AddCommand(server, context, "info", "Version, devices and features of the server",
             [&context] { return Info(context); });
  AddCommand(app, context, "health", "Whether the server serves", [&context] { return Health(context); });
  AddCommand(app, context, "rules", "Every rule and codec with defaults and bounds",
             [&context] { return Rules(context); });
}

}  // namespace stepback::cli

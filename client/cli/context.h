// What every command of `stepback` shares: how to reach the server, how to print, how to end.
//
// A command is a function that returns absl::Status; Register* functions add it to the parser with
//   AddCommand(group, context, "list", "List the models", [&] { return List(context); });
// Exit codes: 0 ok, 1 the command failed, 2 the command line is wrong.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "stepback/client.h"

namespace stepback::cli {

struct Context {
  client::ConnectOptions connect;
  std::string output = "table";  // "table" or "json"
  std::function<absl::Status()> command;

  bool json() const { return output == "json"; }
  absl::StatusOr<std::shared_ptr<client::Server>> Connect() const { return client::Server::Connect(connect); }
};

// --address, TLS and output flags with their environment names.
void AddGlobalOptions(CLI::App& app, Context& context);

// A subcommand that runs `run` when it is chosen.
CLI::App* AddCommand(CLI::App& parent, Context& context, const std::string& name, const std::string& help,
                     std::function<absl::Status()> run);
// A subcommand that only holds others.
CLI::App* AddGroup(CLI::App& parent, const std::string& name, const std::string& help);

void PrintJson(const nlohmann::ordered_json& value);
// On standard error, as text or as {"error": {code, reason, message}}.
void PrintError(const absl::Status& status, bool json);

}  // namespace stepback::cli

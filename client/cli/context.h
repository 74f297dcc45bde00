// What every command of `stepback` shares: how to reach the server and how to print. One per process.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "client/cli/table.h"
#include "stepback/client.h"

namespace stepback::cli {

using Json = nlohmann::ordered_json;

enum class Output { kTable, kJson, kJsonl };

class Context {
 public:
  // Adds --address, --output and the TLS options to `app`.
  void AddOptions(CLI::App* app);

  // Connects as the options say.
  absl::StatusOr<std::shared_ptr<client::Server>> Connect() const;
  const std::string& address() const { return address_; }
  Output output() const { return output_; }
  bool json() const { return output_ != Output::kTable; }

  // Prints a result: the JSON, or the table.
  void Print(const Json& json, const Table& table) const;
  // JSON as it is printed: on several lines, or with jsonl on one. What is not UTF-8 is replaced.
  std::string Text(const Json& json) const;
  // A result that is one sentence.
  void Say(const Json& json, const std::string& sentence) const;

  // The command that the parser has chosen.
  void Run(std::function<absl::Status()> command) { command_ = std::move(command); }
  const std::function<absl::Status()>& command() const { return command_; }

 private:
  std::string address_ = "localhost:7400";
  client::TlsOptions tls_;
  bool insecure_ = false;
  double timeout_seconds_ = 10;
  Output output_ = Output::kTable;
  std::function<absl::Status()> command_;
};

// A subcommand of `parent` that runs `command` once it is chosen.
CLI::App* AddCommand(CLI::App* parent, Context* context, const std::string& name, const std::string& help,
                     std::function<absl::Status()> command);

}  // namespace stepback::cli

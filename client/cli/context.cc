#include "client/cli/context.h"

#include <cstdio>

#include "fmt/core.h"

namespace stepback::cli {

void AddGlobalOptions(CLI::App& app, Context& context) {
  client::ConnectOptions& connect = context.connect;
  // A person at a terminal does not want to wait as long as a training job does.
  connect.retry.give_up_after = std::chrono::seconds(10);
  app.add_option("--address", connect.address, "Server as host:port")
      ->envname("STEPBACK_ADDRESS")
      ->capture_default_str();
  app.add_option("-o,--output", context.output, "Output form")
      ->check(CLI::IsMember({"table", "json"}))
      ->envname("STEPBACK_OUTPUT")
      ->capture_default_str();
  app.add_flag("--insecure", connect.insecure, "Plaintext to an address off this host")
      ->envname("STEPBACK_INSECURE");
  app.add_option("--tls-ca", connect.tls.ca_file, "PEM file with the server's roots")
      ->envname("STEPBACK_TLS_CA");
  app.add_option("--tls-cert", connect.tls.cert_file, "PEM file with the client's certificate")
      ->envname("STEPBACK_TLS_CERT");
  app.add_option("--tls-key", connect.tls.key_file, "PEM file with the client's key")
      ->envname("STEPBACK_TLS_KEY");
  app.add_option("--tls-server-name", connect.tls.server_name, "Name expected in the server's certificate")
      ->envname("STEPBACK_TLS_SERVER_NAME");
}

CLI::App* AddCommand(CLI::App& parent, Context& context, const std::string& name, const std::string& help,
                     std::function<absl::Status()> run) {
  CLI::App* command = parent.add_subcommand(name, help)->fallthrough();
  command->callback([&context, run = std::move(run)] { context.command = run; });
  return command;
}

CLI::App* AddGroup(CLI::App& parent, const std::string& name, const std::string& help) {
  return parent.add_subcommand(name, help)->require_subcommand(1)->fallthrough();
}

void PrintJson(const nlohmann::ordered_json& value) { fmt::print("{}\n", value.dump(2)); }

void PrintError(const absl::Status& status, bool json) {
  const std::string code = absl::StatusCodeToString(status.code());
  const std::string reason = client::ErrorReason(status);
  const std::string message(status.message());
  if (json) {
    const nlohmann::ordered_json error = {
        {"error", {{"code", code}, {"reason", reason}, {"message", message}}}};
    fmt::print(stderr, "{}\n", error.dump(2));
    return;
  }
  fmt::print(stderr, "stepback: {}{}: {}\n", code, reason.empty() ? "" : " (" + reason + ")", message);
}

}  // namespace stepback::cli

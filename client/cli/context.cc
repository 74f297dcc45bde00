#include "client/cli/context.h"

#include <fmt/format.h>

#include <iostream>
#include <map>

#include "client/cli/interrupted.h"

namespace stepback::cli {

void Context::AddOptions(CLI::App* app) {
  app->add_option("-a,--address", address_, "Server, host:port or unix:/path")
      ->envname("STEPBACK_ADDRESS")
      ->capture_default_str()
      ->group("Connection");
  app->add_option("--tls-ca", tls_.ca_file, "PEM file with the roots that sign the server's certificate")
      ->envname("STEPBACK_TLS_CA")
      ->group("Connection");
  app->add_option("--tls-cert", tls_.cert_file, "PEM file with the client's certificate chain")
      ->envname("STEPBACK_TLS_CERT")
      ->group("Connection");
  app->add_option("--tls-key", tls_.key_file, "PEM file with the client's private key")
      ->envname("STEPBACK_TLS_KEY")
      ->group("Connection");
  app->add_option("--tls-server-name", tls_.server_name, "Name expected in the server's certificate")
      ->envname("STEPBACK_TLS_SERVER_NAME")
      ->group("Connection");
  app->add_flag("--insecure", insecure_, "Plaintext to another machine")
      ->envname("STEPBACK_INSECURE")
      ->group("Connection");
  app->add_option("--timeout", timeout_seconds_, "Seconds to wait for the server and for each small call")
      ->check(CLI::Range(0.01, 86400.0))
      ->capture_default_str()
      ->group("Connection");
  const std::map<std::string, Output> words = {
      {"table", Output::kTable}, {"json", Output::kJson}, {"jsonl", Output::kJsonl}};
  app->add_option("-o,--output", output_, "Form of results and errors: table, json, or jsonl (one line each)")
      ->transform(CLI::CheckedTransformer(words))
      ->envname("STEPBACK_OUTPUT")
      ->default_str("table")
      ->group("Output");
}

absl::StatusOr<std::shared_ptr<client::Server>> Context::Connect() const {
  client::ConnectOptions options{.address = address_, .tls = tls_, .insecure = insecure_};
  const std::chrono::milliseconds timeout(static_cast<int64_t>(timeout_seconds_ * 1000));
  options.connect_timeout = timeout;
  options.control_timeout = timeout;
  options.retry.give_up_after = timeout;
  options.interrupted = Interrupted;
  return client::Server::Connect(options);
}

void Context::Print(const Json& json, const Table& table) const {
  if (this->json()) {
    std::cout << Text(json) << "\n";
  } else {
    table.Print(std::cout);
  }
}

void Context::Say(const Json& json, const std::string& sentence) const {
  std::cout << (this->json() ? Text(json) : sentence) << "\n";
}

std::string Context::Text(const Json& json) const {
  return json.dump(output_ == Output::kJsonl ? -1 : 2, ' ', false, Json::error_handler_t::replace);
}

CLI::App* AddCommand(CLI::App* parent, Context* context, const std::string& name, const std::string& help,
                     std::function<absl::Status()> command) {
  CLI::App* app = parent->add_subcommand(name, help);
  app->fallthrough();  // global options may stand behind the command
  app->callback([context, command = std::move(command)] { context->Run(command); });
  return app;
}

}  // namespace stepback::cli

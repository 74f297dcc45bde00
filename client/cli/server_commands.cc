// stepback server info, health, rules, version.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <iostream>
#include <limits>
#include <memory>

#include "client/cli/commands.h"
#include "client/cli/json.h"
#include "client/cli/units.h"
#include "client/cli/version.h"
#include "server/base/status_macros.h"

namespace stepback::cli {
namespace {

std::string Listed(const std::vector<std::string>& words) {
  return words.empty() ? "-" : fmt::format("{}", fmt::join(words, ", "));
}

absl::Status Info(const Context& context) {
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  ASSIGN_OR_RETURN(const client::ServerInfo info, server->Info());
  Table table;
  table.AddField("address", context.address());
  table.AddField("version", fmt::format("{} ({})", info.version, info.revision));
  table.AddField("devices", Listed(info.devices));
  table.AddField("features", Listed(info.features));
  table.AddField("protocol", std::to_string(info.protocol_version));
  table.AddField("gRPC", info.grpc_version);
  table.AddField("threads", std::to_string(info.compute_threads));
  table.AddField("uptime", ShowSeconds(info.uptime_seconds));
  table.AddField("draining", info.draining ? "yes" : "no");
  context.Print(ToJson(info), table);
  return absl::OkStatus();
}

absl::Status Health(const std::string& service, const Context& context) {
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  ASSIGN_OR_RETURN(const std::string health, server->CheckHealth(service));
  context.Say({{"service", service}, {"status", health}}, health);
  if (health == "SERVING") return absl::OkStatus();
  return absl::UnavailableError(fmt::format("'{}' is {}", service.empty() ? "server" : service, health));
}

// "[0, 1)"; a bound that no float reaches is open and infinite.
std::string Bounds(const client::HyperInfo& hyper) {
  const bool bottomless = hyper.min <= std::numeric_limits<float>::lowest();
  const bool endless = hyper.max >= std::numeric_limits<float>::max();
  return fmt::format("{}{}, {}{}", hyper.min_open || bottomless ? '(' : '[',
                     bottomless ? "-inf" : ShowNumber(hyper.min), endless ? "inf" : ShowNumber(hyper.max),
                     hyper.max_open || endless ? ')' : ']');
}

absl::Status Rules(const std::string& kind, const Context& context) {
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  ASSIGN_OR_RETURN(client::RuleList list, server->ListRules());
  if (!kind.empty())
    std::erase_if(list.rules, [&](const client::RuleInfo& rule) { return rule.kind != kind; });
  Table rules({"KIND", "RULE", "HYPERPARAMETER", "DEFAULT", "BOUNDS", "MEANING"});
  for (const client::RuleInfo& rule : list.rules) {
    if (rule.hypers.empty()) rules.Add({rule.kind, rule.name, "-", "-", "-", rule.citation});
    if (!rule.eval_slot.empty()) {
      rules.Add({rule.kind, rule.name, "-", "-", "-", "view eval reads its slot " + rule.eval_slot});
    }
    if (rule.takes_weights) rules.Add({rule.kind, rule.name, "-", "-", "-", "takes weights, not deltas"});
    for (const client::HyperInfo& hyper : rule.hypers) {
      rules.Add(
          {rule.kind, rule.name, hyper.name, ShowNumber(hyper.default_value), Bounds(hyper), hyper.doc});
    }
  }
  context.Print(ToJson(list), rules);
  if (context.json()) return absl::OkStatus();
  std::cout << "\n";
  Table codecs({"CODEC", "BLOCK", "ERROR BOUND"});
  for (const client::CodecInfo& codec : list.codecs) {
    codecs.Add({codec.name, std::to_string(codec.block_elements), codec.error_bound});
  }
  codecs.Print(std::cout);
  return absl::OkStatus();
}

// Of this program, and of the server if one answers at once.
absl::Status Version(const Context& context) {
  Json json = {{"client", {{"version", kVersion}}}};
  std::string text = fmt::format("stepback {}", kVersion);
  if (const auto server = context.Connect(); server.ok()) {
    if (const auto info = (*server)->Info(); info.ok()) {
      json["server"] = ToJson(*info);
      text += fmt::format("\nstepbackd {} ({}) at {}", info->version, info->revision, context.address());
    }
  }
  context.Say(json, text);
  return absl::OkStatus();
}

}  // namespace

void AddServerCommands(CLI::App* app, Context* context) {
  CLI::App* server = app->add_subcommand("server", "Look at the server")->require_subcommand(1);
  server->fallthrough();
  AddCommand(server, context, "info", "Version, devices, features, uptime", [=] { return Info(*context); });

  const auto service = std::make_shared<std::string>();
  CLI::App* health = AddCommand(app, context, "health", "Exit 0 when the server is serving",
                                [=] { return Health(*service, *context); });
  health->add_option("service", *service,
                     "A service, e.g. stepback.v1.TrainingService; default: the whole server");

  const auto kind = std::make_shared<std::string>();
  CLI::App* rules = AddCommand(app, context, "rules", "Every rule with its hyperparameters, and every codec",
                               [=] { return Rules(*kind, *context); });
  rules->add_option("--kind", *kind, "inner, outer, average or aggregator only")
      ->check(CLI::IsMember({"inner", "outer", "average", "aggregator"}));

  AddCommand(app, context, "version", "Version of this program and of the server",
             [=] { return Version(*context); });
}

}  // namespace stepback::cli

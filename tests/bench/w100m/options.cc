#include "tests/bench/w100m/options.h"

#include <CLI/CLI.hpp>

#include <cstdlib>

namespace stepback::bench {

Options ParseOptions(int argc, char** argv) {
  Options options;
  CLI::App app("W-100M, T1: every worker pushes all gradients, then pulls all weights; beside raw sockets.",
               "bm_w100m");
  app.add_option("--parameters", options.parameters, "Floats in the model")
      ->check(CLI::Range(1, 2'000'000'000));
  app.add_option("--workers", options.workers, "Worker processes, one configuration each")
      ->delimiter(',')
      ->check(CLI::Range(1, 64));
  app.add_option("--rounds", options.rounds, "Counted rounds")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--warmup", options.warmup_rounds, "Rounds before them")
      ->check(CLI::Range(0, 100))
      ->capture_default_str();
  app.add_option("--server", options.server, "The stepbackd to start (default: beside this program)");
  app.add_option("--json", options.json_file, "Write the figures here too");
  app.add_option("--role", options.role)->group("");
  app.add_option("--address", options.address)->group("");
  app.add_option("--model", options.model)->group("");
  app.add_option("--index", options.index)->group("");
  app.add_option("--socket-port", options.socket_port)->group("");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : 2);
  }
  return options;
}

}  // namespace stepback::bench

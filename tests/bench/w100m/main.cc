// bm_w100m: how long W workers take to push 100 million gradients each and to pull the weights back, beside
// raw TCP sockets that move the same bytes in the same pattern, in turn with them.
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "tests/bench/w100m/child.h"
#include "tests/bench/w100m/options.h"
#include "tests/bench/w100m/report.h"
#include "tests/bench/w100m/rounds.h"
#include "tests/bench/w100m/socket_server.h"
#include "tests/bench/w100m/worker.h"

namespace stepback::bench {
namespace {

int Drive(Options options) {
  if (options.server.empty()) {
    options.server = std::filesystem::read_symlink("/proc/self/exe").replace_filename("stepbackd");
  }
  fmt::print("T1: {} parameters, {} rounds after {}; medians over workers and rounds\n{}", options.parameters,
             options.rounds, options.warmup_rounds, Heading());
  std::vector<Result> results;
  for (const uint32_t workers : options.workers) {
    results.push_back(RunConfiguration(options, workers));
    fmt::print("{}", Line(results.back()));
    std::fflush(stdout);
  }
  fmt::print("weights verified against a sum in double precision\n");
  if (options.json_file.empty()) return 0;
  std::ofstream file(options.json_file);
  file << ToJson(options, results).dump(2) << "\n";
  if (!file.flush()) Die(fmt::format("cannot write '{}'", options.json_file));
  return 0;
}

}  // namespace
}  // namespace stepback::bench

int main(int argc, char** argv) {
  const stepback::bench::Options options = stepback::bench::ParseOptions(argc, argv);
  if (options.role == "worker") return stepback::bench::RunWorker(options);
  if (options.role == "sockets") return stepback::bench::RunSocketServer(options);
  return stepback::bench::Drive(options);
}

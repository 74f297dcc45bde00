// Runs seeds of the simulation: simulate --seeds N [--first S] [--threads T] [--planted BUG] [--json FILE]
// [--verbose] Ends with 0 when no seed found a violation (with --planted: when one did); a failing seed is
// made smaller and shown.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "server/telemetry/log.h"
#include "tests/sim/planted.h"
#include "tests/sim/simulation.h"

namespace {

using stepback::sim::Plan;
using stepback::sim::RunResult;

struct Totals {
  uint64_t seeds = 0, commands = 0, steps = 0, faults = 0, violations = 0;
  double virtual_seconds = 0;
  std::optional<uint64_t> first_failure;
};

void Report(const Plan& plan, const RunResult& result) {
  fmt::print("VIOLATION with {}", ToString(plan));
  for (const std::string& violation : result.violations) fmt::print("  {}\n", violation);
  const Plan smaller = stepback::sim::Shrink(plan);
  fmt::print("still fails with {}again: simulate --seeds 1 --first {}\n", ToString(smaller), plan.seed);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Runs the server under virtual clock, network and disk");
  uint64_t seeds = 100, first = 1;
  unsigned threads = std::max(1u, std::thread::hardware_concurrency());
  std::string json, planted, commit = "unknown";
  bool verbose = false;
  app.add_option("--seeds", seeds, "How many")->capture_default_str();
  app.add_option("--first", first, "The first seed")->capture_default_str();
  app.add_option("--threads", threads, "Runs at a time")->capture_default_str();
  app.add_option(
      "--planted", planted,
      "A bug that must be found: " + fmt::format("{}", fmt::join(stepback::sim::PlantedBugs(), ", ")));
  app.add_option("--json", json, "Write {seeds, steps, faults, violations, ...} to this file");
  app.add_option("--commit", commit, "Printed beside the seeds");
  app.add_flag("--verbose", verbose, "A line per seed");
  CLI11_PARSE(app, argc, argv);
  stepback::SetLogLevel(stepback::LogLevel::kOff);
  if (!planted.empty()) {
    if (const absl::Status status = stepback::sim::Plant(planted); !status.ok()) {
      fmt::print(stderr, "{}\n", std::string(status.message()));
      return 2;
    }
  }

  fmt::print("seeds {} to {}, commit {}\n", first, first + seeds - 1, commit);
  Totals totals;
  std::mutex mu;
  std::atomic<uint64_t> next{first};
  const auto began = std::chrono::steady_clock::now();
  const auto work = [&] {
    for (uint64_t seed; (seed = next++) < first + seeds;) {
      const Plan plan = stepback::sim::MakePlan(seed);
      const RunResult result = stepback::sim::Run(plan);
      const std::lock_guard<std::mutex> lock(mu);
      ++totals.seeds;
      totals.commands += result.commands;
      totals.steps += result.steps;
      totals.faults += result.faults;
      totals.virtual_seconds += result.virtual_seconds;
      totals.violations += !result.violations.empty();
      if (verbose)
        fmt::print("seed {}: {} commands, {} steps, {:.0f} s, digest {:016x}\n", seed, result.commands,
                   result.steps, result.virtual_seconds, result.digest);
      if (result.violations.empty()) continue;
      if (!totals.first_failure || seed < *totals.first_failure) totals.first_failure = seed;
      if (totals.violations <= 3) Report(plan, result);
      if (!planted.empty()) next = first + seeds;  // found
    }
  };
  // In a process without a second thread, locks and reference counts cost next to nothing.
  std::vector<std::thread> pool;
  for (unsigned i = 1; i < threads; ++i) pool.emplace_back(work);
  work();
  for (std::thread& thread : pool) thread.join();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();

  fmt::print(
      "{} seeds, {} commands, {} steps, {} faults, {} violations; {:.0f} virtual seconds in {:.1f}: {:.0f} x "
      "real time\n",
      totals.seeds, totals.commands, totals.steps, totals.faults, totals.violations, totals.virtual_seconds,
      seconds, totals.virtual_seconds / seconds);
  if (!json.empty()) {
    std::ofstream(json) << nlohmann::json{{"seeds", totals.seeds},
                                          {"first", first},
                                          {"commit", commit},
                                          {"commands", totals.commands},
                                          {"steps", totals.steps},
                                          {"faults", totals.faults},
                                          {"violations", totals.violations},
                                          {"planted", planted},
                                          {"virtual_seconds", totals.virtual_seconds},
                                          {"seconds", seconds}}
                               .dump(2)
                        << "\n";
  }
  const bool found = totals.violations > 0;
  if (!planted.empty())
    fmt::print("the planted bug '{}' was {}\n", planted,
               found ? fmt::format("found by seed {}", *totals.first_failure) : "NOT found");
  return found == planted.empty() ? 1 : 0;
}

#include "tests/bench/w100m/report.h"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <thread>

namespace stepback::bench {
namespace {

double GigabytesPerSecond(const Result& result, const std::vector<double>& seconds) {
  return result.bytes_per_direction / Median(seconds) / 1e9;
}

nlohmann::ordered_json TimingsJson(const Result& result, const Timings& timings) {
  return {{"push_seconds_median", Median(timings.push)},
          {"pull_seconds_median", Median(timings.pull)},
          {"total_seconds_median", Median(timings.total)},
          {"push_gigabytes_per_second", GigabytesPerSecond(result, timings.push)},
          {"pull_gigabytes_per_second", GigabytesPerSecond(result, timings.pull)},
          {"push_seconds", timings.push},
          {"pull_seconds", timings.pull}};
}

nlohmann::ordered_json HostJson() {
  utsname names = {};
  uname(&names);
  return {{"system", names.sysname},
          {"release", names.release},
          {"machine", names.machine},
          {"cpus", std::thread::hardware_concurrency()}};
}

}  // namespace

std::string Heading() {
  return fmt::format(
      "{:>2}  {:^25}  {:^15}  {:^25}  {:>6}  {:>10}  {:>10}  {:>8}\n{:>2}  {:>7}  {:>7}  {:>7}  {:>7} {:>7}  "
      "{:>7}  {:>7}  {:>7}\n",
      "W", "service, s", "GB/s", "raw sockets, s", "ratio", "server RSS", "worker RSS", "CPU s", "", "push",
      "pull", "total", "push", "pull", "push", "pull", "total");
}

std::string Line(const Result& r) {
  return fmt::format(
      "{:>2}  {:7.3f}  {:7.3f}  {:7.3f}  {:7.3f} {:7.3f}  {:7.3f}  {:7.3f}  {:7.3f}  {:6.2f}  {:7.2f} GB  "
      "{:7.2f} GB  {:8.2f}\n",
      r.workers, Median(r.service.push), Median(r.service.pull), Median(r.service.total),
      GigabytesPerSecond(r, r.service.push), GigabytesPerSecond(r, r.service.pull), Median(r.sockets.push),
      Median(r.sockets.pull), Median(r.sockets.total), r.ratio(),
      static_cast<double>(r.server_peak_rss_bytes) / 1e9, static_cast<double>(r.worker_peak_rss_bytes) / 1e9,
      r.server_cpu_seconds);
}

nlohmann::ordered_json ToJson(const Options& options, const std::vector<Result>& results) {
  nlohmann::ordered_json configurations = nlohmann::ordered_json::array();
  for (const Result& result : results) {
    configurations.push_back({{"workers", result.workers},
                              {"service", TimingsJson(result, result.service)},
                              {"sockets", TimingsJson(result, result.sockets)},
                              {"ratio", result.ratio()},
                              {"server_peak_rss_bytes", result.server_peak_rss_bytes},
                              {"worker_peak_rss_bytes", result.worker_peak_rss_bytes},
                              {"server_cpu_seconds_per_round", result.server_cpu_seconds},
                              {"verified", true}});
  }
  return {{"schema_version", 1},
          {"benchmark", "w100m_t1"},
          {"parameters", options.parameters},
          {"rounds", options.rounds},
          {"warmup_rounds", options.warmup_rounds},
          {"host", HostJson()},
          {"configurations", configurations}};
}

}  // namespace stepback::bench

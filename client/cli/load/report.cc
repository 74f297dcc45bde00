#include "client/cli/load/report.h"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <thread>

#include "client/cli/units.h"
#include "client/cli/version.h"

namespace stepback::cli {
namespace {

Json HostJson() {
  utsname names = {};
  uname(&names);
  return {{"system", names.sysname},
          {"release", names.release},
          {"machine", names.machine},
          {"cpus", std::thread::hardware_concurrency()}};
}

Json ConfigJson(const LoadOptions& options, const std::string& address) {
  return {{"address", address},
          {"operation", NameOf(options.operation)},
          {"concurrency", options.concurrency},
          {"duration_seconds", options.duration_seconds},
          {"warmup_seconds", options.warmup_seconds},
          {"loop", options.rate > 0 ? "open" : "closed"},
          {"rate", options.rate},
          {"parameters", options.parameters},
          {"tensors", options.tensors},
          {"codec", options.codec},
          {"mode", client::NameOf(options.mode)},
          {"policy", client::NameOf(options.policy)},
          {"durability", client::NameOf(options.durability)}};
}

Json LatencyJson(const LatencyHistogram& latency) {
  return {{"mean", latency.mean()},          {"min", latency.min()},          {"p50", latency.Quantile(0.5)},
          {"p90", latency.Quantile(0.9)},    {"p95", latency.Quantile(0.95)}, {"p99", latency.Quantile(0.99)},
          {"p999", latency.Quantile(0.999)}, {"max", latency.max()}};
}

std::string Rate(double bytes_per_second) { return fmt::format("{:.3f} GB/s", bytes_per_second / 1e9); }

}  // namespace

Json LoadJson(const LoadOptions& options, const LoadResult& result, const std::vector<Assertion>& assertions,
              const std::string& address) {
  Json checks = Json::array();
  for (const Assertion& assertion : assertions) {
    const double actual = MetricOf(result, assertion.metric);
    checks.push_back(
        {{"assertion", assertion.text}, {"actual", actual}, {"holds", Holds(assertion, actual)}});
  }
  return {{"schema_version", 1},
          {"client_version", kVersion},
          {"started_at", ShowTime(result.started_at)},
          {"host", HostJson()},
          {"config", ConfigJson(options, address)},
          {"seconds", result.seconds},
          {"interrupted", result.interrupted},
          {"counts",
           {{"requests", result.requests},
            {"errors", result.errors},
            {"errors_by_code", result.errors_by_code},
            {"resyncs", result.resyncs},
            {"warmup_requests", result.warmup_requests}}},
          {"throughput",
           {{"requests_per_second", result.PerSecond(result.requests - result.errors)},
            {"payload_bytes_sent", result.payload_bytes_sent},
            {"payload_bytes_received", result.payload_bytes_received},
            {"sent_bytes_per_second", result.PerSecond(result.payload_bytes_sent)},
            {"received_bytes_per_second", result.PerSecond(result.payload_bytes_received)}}},
          {"latency_seconds", LatencyJson(result.latency)},
          {"assertions", checks}};
}

std::string LoadText(const LoadOptions& options, const LoadResult& result,
                     const std::vector<Assertion>& assertions) {
  const LatencyHistogram& latency = result.latency;
  std::string out = fmt::format(
      "{} x {} on {} parameters in {} tensors ({}, {} mode, {}, {}), {}, {:.2f} s after {:.2f} s of "
      "warm-up\n",
      NameOf(options.operation), options.concurrency, ShowCount(options.parameters), options.tensors,
      options.codec, client::NameOf(options.mode), client::NameOf(options.policy),
      client::NameOf(options.durability),
      options.rate > 0 ? fmt::format("open loop at {:g}/s", options.rate) : std::string("closed loop"),
      result.seconds, options.warmup_seconds);
  out += fmt::format("requests  {} ({:.2f}/s), errors {}, resyncs {}\n", result.requests,
                     result.PerSecond(result.requests - result.errors), result.errors, result.resyncs);
  for (const auto& [code, count] : result.errors_by_code) out += fmt::format("  {} x {}\n", count, code);
  out += fmt::format("payload   sent {}, received {}\n", Rate(result.PerSecond(result.payload_bytes_sent)),
                     Rate(result.PerSecond(result.payload_bytes_received)));
  out += fmt::format("latency   p50 {}  p90 {}  p99 {}  p99.9 {}  max {}  mean {}\n",
                     ShowSeconds(latency.Quantile(0.5)), ShowSeconds(latency.Quantile(0.9)),
                     ShowSeconds(latency.Quantile(0.99)), ShowSeconds(latency.Quantile(0.999)),
                     ShowSeconds(latency.max()), ShowSeconds(latency.mean()));
  for (const Assertion& assertion : assertions) {
    const double actual = MetricOf(result, assertion.metric);
    out += fmt::format("assert    {}: {} ({:.6g})\n", assertion.text,
                       Holds(assertion, actual) ? "holds" : "FAILS", actual);
  }
  return out;
}

}  // namespace stepback::cli

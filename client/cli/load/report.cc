#include "client/cli/load/report.h"

#include <unistd.h>

#include <cmath>
#include <numeric>
#include <thread>

#include "fmt/core.h"

namespace stepback::cli::load {
namespace {

constexpr int kSchemaVersion = 1;

// Nearest rank: the smallest latency that at least `share` of the requests did not exceed.
double Percentile(const std::vector<float>& sorted, double share) {
  if (sorted.empty()) return 0;
  const size_t rank = static_cast<size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  return sorted[std::max<size_t>(rank, 1) - 1];
}

std::string Seconds(double seconds) {
  if (seconds < 1e-3) return fmt::format("{:.0f} us", seconds * 1e6);
  return seconds < 1 ? fmt::format("{:.2f} ms", seconds * 1e3) : fmt::format("{:.3f} s", seconds);
}

std::string HostName() {
  char name[256] = {};
  gethostname(name, sizeof(name) - 1);
  return name;
}

}  // namespace

std::map<std::string, double> Figures(const Result& r) {
  const std::vector<float>& l = r.total.latencies_seconds;
  const double sum = std::accumulate(l.begin(), l.end(), 0.0);
  return {{"p50", Percentile(l, .5)},
          {"p90", Percentile(l, .9)},
          {"p99", Percentile(l, .99)},
          {"p999", Percentile(l, .999)},
          {"max", l.empty() ? 0 : l.back()},
          {"mean", l.empty() ? 0 : sum / static_cast<double>(l.size())},
          {"requests", static_cast<double>(r.total.requests)},
          {"errors", static_cast<double>(r.total.errors)},
          {"throughput", static_cast<double>(r.total.requests) / r.seconds},
          {"sent", static_cast<double>(r.total.bytes_sent) / r.seconds},
          {"received", static_cast<double>(r.total.bytes_received) / r.seconds}};
}

std::string ToText(const Result& r) {
  const std::map<std::string, double> f = Figures(r);
  std::string text = fmt::format(
      "{} x {}, {} parameters in {} tensors, {} {}, {}; server {} on {}\n"
      "  requests    {:.0f} in {:.1f} s = {:.1f}/s, {:.0f} errors\n"
      "  payload     {:.3f} GB/s sent, {:.3f} GB/s received\n"
      "  latency     mean {}  p50 {}  p90 {}  p99 {}  p99.9 {}  max {}\n",
      r.options.concurrency, NameOf(r.options.action), r.options.parameters, r.options.tensors,
      r.options.codec, r.options.mode,
      r.options.rate > 0 ? fmt::format("open loop at {}/s", r.options.rate) : "closed loop", r.server_version,
      r.server_device, f.at("requests"), r.seconds, f.at("throughput"), f.at("errors"), f.at("sent") / 1e9,
      f.at("received") / 1e9, Seconds(f.at("mean")), Seconds(f.at("p50")), Seconds(f.at("p90")),
      Seconds(f.at("p99")), Seconds(f.at("p999")), Seconds(f.at("max")));
  if (!r.total.first_error.empty()) text += fmt::format("  first error {}\n", r.total.first_error);
  return text;
}

nlohmann::ordered_json ToJson(const Result& r) {
  const std::map<std::string, double> f = Figures(r);
  return {{"schema_version", kSchemaVersion},
          {"config",
           {{"action", NameOf(r.options.action)},
            {"concurrency", r.options.concurrency},
            {"parameters", r.options.parameters},
            {"tensors", r.options.tensors},
            {"codec", r.options.codec},
            {"mode", r.options.mode},
            {"rate_per_second", r.options.rate},
            {"warmup_seconds", r.options.warmup_seconds},
            {"duration_seconds", r.options.duration_seconds}}},
          {"host", {{"name", HostName()}, {"cores", std::thread::hardware_concurrency()}}},
          {"server", {{"version", r.server_version}, {"device", r.server_device}}},
          {"seconds", r.seconds},
          {"requests", r.total.requests},
          {"errors", r.total.errors},
          {"first_error", r.total.first_error},
          {"throughput_per_second", f.at("throughput")},
          {"sent_bytes", r.total.bytes_sent},
          {"received_bytes", r.total.bytes_received},
          {"sent_bytes_per_second", f.at("sent")},
          {"received_bytes_per_second", f.at("received")},
          {"latency_seconds",
           {{"mean", f.at("mean")},
            {"p50", f.at("p50")},
            {"p90", f.at("p90")},
            {"p99", f.at("p99")},
            {"p999", f.at("p999")},
            {"max", f.at("max")}}}};
}

}  // namespace stepback::cli::load

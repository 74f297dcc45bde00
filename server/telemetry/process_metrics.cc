#include "server/telemetry/process_metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

namespace stepback::telemetry {
namespace {

// Fields of /proc/self/stat from the third on: the second, the program's name, may hold spaces and brackets.
std::vector<std::string> StatFields() {
  std::ifstream file("/proc/self/stat");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return {};
  std::istringstream rest(text.substr(name_end + 1));
  return {std::istream_iterator<std::string>(rest), std::istream_iterator<std::string>()};
}

double BootTimeSeconds() {
  std::ifstream file("/proc/stat");
  std::string key;
  double value = 0;
  for (std::string line; std::getline(file, line);) {
    if (std::istringstream(line) >> key >> value && key == "btime") return value;
  }
  return 0;
}

double CountOpenFds() {
  DIR* directory = opendir("/proc/self/fd");
  if (directory == nullptr) return 0;
  int count = 0;
  while (const dirent* entry = readdir(directory)) count += entry->d_name[0] != '.';
  closedir(directory);
  return count - 1;  // the directory's own descriptor
}

double MaxFds() {
  rlimit limit{};
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? static_cast<double>(limit.rlim_cur) : 0;
}

}  // namespace

ProcessStats ReadProcessStats() {
  ProcessStats stats{.open_fds = CountOpenFds(), .max_fds = MaxFds()};
  const std::vector<std::string> fields = StatFields();
  const auto field = [&](size_t number) { return std::stod(fields[number - 3]); };  // numbered as in proc(5)
  if (fields.size() < 22) return stats;
  const auto ticks_per_second = static_cast<double>(sysconf(_SC_CLK_TCK));
  stats.cpu_seconds = (field(14) + field(15)) / ticks_per_second;
  stats.threads = field(20);
  stats.start_time_seconds = BootTimeSeconds() + field(22) / ticks_per_second;
  stats.virtual_bytes = field(23);
  stats.resident_bytes = field(24) * static_cast<double>(sysconf(_SC_PAGESIZE));
  return stats;
}

ProcessMetrics::ProcessMetrics(MetricStore* store)
    : cpu_(store->Gauges("process_cpu_seconds_total")),
      resident_(store->Gauges("process_resident_memory_bytes")),
      virtual_(store->Gauges("process_virtual_memory_bytes")),
      open_fds_(store->Gauges("process_open_fds")),
      max_fds_(store->Gauges("process_max_fds")),
      start_time_(store->Gauges("process_start_time_seconds")),
      threads_(store->Gauges("process_threads")) {}

void ProcessMetrics::Update(const ProcessStats& stats) {
  cpu_().Set(stats.cpu_seconds);
  resident_().Set(stats.resident_bytes);
  virtual_().Set(stats.virtual_bytes);
  open_fds_().Set(stats.open_fds);
  max_fds_().Set(stats.max_fds);
  start_time_().Set(stats.start_time_seconds);
  threads_().Set(stats.threads);
}

}  // namespace stepback::telemetry

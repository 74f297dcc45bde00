#include "server/base/failpoint.h"

#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/base/mutex.h"

namespace stepback {
namespace {

struct Failpoint {
  bool on = false;
  uint64_t crash_at = 0;  // visit; 0: never
  uint64_t visits = 0;
};

struct FailpointTable {
  std::atomic<bool> any{false};
  Mutex mu;
  std::map<std::string, Failpoint, std::less<>> points GUARDED_BY(mu);
};

absl::Status SetIn(FailpointTable* table, const std::string& name, std::string_view action) {
  Failpoint point{.on = action == "on", .crash_at = action == "crash" ? uint64_t{1} : 0};
  const bool counted =
      action.starts_with("crash:") && absl::SimpleAtoi(std::string(action.substr(6)), &point.crash_at);
  if (!point.on && point.crash_at == 0 && action != "off") {
    return absl::InvalidArgumentError(absl::StrCat("failpoint '", name, "': action '", std::string(action),
                                                   "' is not on, off, crash or crash:N",
                                                   counted ? " with N above 0" : ""));
  }
  MutexLock lock(&table->mu);
  table->points[name] = point;
  table->any = true;
  return absl::OkStatus();
}

FailpointTable* MakeTable() {
  auto* table = new FailpointTable;
  const char* text = std::getenv("STEPBACK_FAILPOINTS");
  for (const std::string& item :
       std::vector<std::string>(absl::StrSplit(text == nullptr ? "" : text, ';', absl::SkipEmpty()))) {
    const std::pair<std::string, std::string> set = absl::StrSplit(item, absl::MaxSplits('=', 1));
    if (const absl::Status status = SetIn(table, set.first, set.second); !status.ok()) {
      std::fprintf(stderr, "%s\n", status.ToString().c_str());
      std::abort();
    }
  }
  return table;
}

FailpointTable* Table() {
  static FailpointTable* const table = MakeTable();
  return table;
}

}  // namespace

absl::Status Failpoints::Set(const std::string& name, std::string_view action) {
  return SetIn(Table(), name, action);
}

bool Failpoints::Reached(std::string_view name) {
  FailpointTable* const table = Table();
  if (!table->any.load(std::memory_order_relaxed)) return false;
  MutexLock lock(&table->mu);
  const auto found = table->points.find(name);
  if (found == table->points.end()) return false;
  Failpoint& point = found->second;
  if (++point.visits == point.crash_at) std::raise(SIGKILL);
  return point.on;
}

}  // namespace stepback

// The figures of a load, as numbers by name, as text and as JSON.
#pragma once

#include <map>
#include <string>

#include "client/cli/load/scenario.h"
#include "nlohmann/json.hpp"

namespace stepback::cli::load {

// "p50", "p90", "p99", "p999", "max", "mean" (seconds), "requests", "errors", "throughput" (1/s), "sent",
// "received" (B/s).
std::map<std::string, double> Figures(const Result& result);

std::string ToText(const Result& result);
nlohmann::ordered_json ToJson(const Result& result);

}  // namespace stepback::cli::load

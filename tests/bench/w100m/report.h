// The figures as text and as JSON (schema_version 1).
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/bench/w100m/options.h"
#include "tests/bench/w100m/rounds.h"

namespace stepback::bench {

std::string Heading();
std::string Line(const Result& result);
nlohmann::ordered_json ToJson(const Options& options, const std::vector<Result>& results);

}  // namespace stepback::bench

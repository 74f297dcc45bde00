#include "tests/conformance/golden.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/conformance/json.h"

namespace stepback::kernels::testing {
namespace {

Vector ToVector(const Json& json) {
  Vector vector;
  for (const Json& x : json.array()) vector.push_back(x.number());
  return vector;
}

std::vector<Vector> ToVectors(const Json& json) {
  std::vector<Vector> vectors;
  for (const Json& row : json.array()) vectors.push_back(ToVector(row));
  return vectors;
}

Golden ToGolden(const Json& json) {
  Golden golden{
      json["rule"].string(), json["kind"].string(), ToVector(json["start"]), ToVectors(json["inputs"]), {}};
  for (const Json& each : json["cases"].array()) {
    GoldenCase one{each["case"].string(), {}, ToVectors(each["trajectory"]), {}};
    for (const auto& [name, value] : each["hypers"].object()) one.hypers[name] = value.number();
    if (each.object().contains("evaluations")) one.evaluations = ToVectors(each["evaluations"]);
    golden.cases.push_back(std::move(one));
  }
  return golden;
}

Golden ReadGolden(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  try {
    return ToGolden(JsonReader(text.str()).Read());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", path.c_str(), error.what());
    std::abort();
  }
}

std::map<std::string, Golden> ReadGoldens(const std::string& folder) {
  std::map<std::string, Golden> goldens;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".json") goldens[entry.path().stem()] = ReadGolden(entry.path());
  }
  return goldens;
}

}  // namespace

const std::map<std::string, Golden>& Goldens() {
  static const auto kGoldens = ReadGoldens(STEPBACK_GOLDEN_DIR);
  return kGoldens;
}

const std::map<std::string, Golden>& AggregatorGoldens() {
  static const auto kGoldens = ReadGoldens(STEPBACK_GOLDEN_DIR "/aggregate");
  return kGoldens;
}

}  // namespace stepback::kernels::testing

#include "tests/conformance/golden.h"

#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <variant>

namespace stepback::kernels::testing {
namespace {

// A reader for the JSON that make_goldens.py writes (no escapes, no literals): the kernels build alone,
// without a JSON library.
struct Json {
  std::variant<double, std::string, std::vector<Json>, std::map<std::string, Json>> value;

  double number() const { return std::get<double>(value); }
  const std::string& string() const { return std::get<std::string>(value); }
  const std::vector<Json>& array() const { return std::get<std::vector<Json>>(value); }
  const std::map<std::string, Json>& object() const { return std::get<std::map<std::string, Json>>(value); }
  const Json& operator[](const std::string& key) const { return object().at(key); }
};

class JsonReader {
 public:
  explicit JsonReader(const std::string& text) : at_(text.c_str()) {}

  Json Read() {
    switch (Peek()) {
      case '{':
        return {ReadObject()};
      case '[':
        return {ReadArray()};
      case '"':
        return {ReadString()};
      default:
        return {ReadNumber()};
    }
  }

 private:
  char Peek() {
    while (std::isspace(static_cast<unsigned char>(*at_))) ++at_;
    return *at_;
  }
  bool Take(char c) { return Peek() == c ? ++at_, true : false; }
  void Expect(char c) {
    if (!Take(c))
      throw std::runtime_error(std::string("expected ") + c + " before: " + std::string(at_).substr(0, 20));
  }

  std::map<std::string, Json> ReadObject() {
    std::map<std::string, Json> object;
    Expect('{');
    for (bool more = Peek() != '}'; more; more = Take(',')) {
      const std::string key = (Peek(), ReadString());
      Expect(':');
      object[key] = Read();
    }
    Expect('}');
    return object;
  }
  std::vector<Json> ReadArray() {
    std::vector<Json> array;
    Expect('[');
    for (bool more = Peek() != ']'; more; more = Take(',')) array.push_back(Read());
    Expect(']');
    return array;
  }
  std::string ReadString() {
    std::string string;
    Expect('"');
    while (*at_ != '"' && *at_ != 0) string += *at_++;
    Expect('"');
    return string;
  }
  double ReadNumber() {
    char* end = nullptr;
    const double number = std::strtod(at_, &end);
    if (end == at_) throw std::runtime_error("expected a number before: " + std::string(at_).substr(0, 20));
    at_ = end;
    return number;
  }

  const char* at_;
};

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
    GoldenCase one{each["case"].string(), {}, ToVectors(each["trajectory"])};
    for (const auto& [name, value] : each["hypers"].object()) one.hypers[name] = value.number();
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

// A reader for the JSON that tests/golden holds (no escapes, no literals): the kernels build alone, without a
// JSON library.
//
//   const Json golden = JsonReader(text).Read();      // throws std::exception on anything else
//   golden["cases"].array()
#pragma once

#include <cctype>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

namespace stepback::kernels::testing {

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

}  // namespace stepback::kernels::testing

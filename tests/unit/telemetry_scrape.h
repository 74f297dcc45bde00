// Reads the Prometheus text format as a scraper would: series as written, with its value.
#pragma once

#include <map>
#include <sstream>
#include <string>

namespace stepback::telemetry {

struct Scraped {
  std::map<std::string, double> series;      // `name{label="value",...}` -> value
  std::map<std::string, std::string> types;  // family -> "counter", "gauge" or "histogram"

  double at(const std::string& name) const { return series.at(name); }
  bool Has(const std::string& name) const { return series.count(name) > 0; }
  // How many series contain `text`.
  int Count(const std::string& text) const {
    int count = 0;
    for (const auto& [name, value] : series) count += name.find(text) != std::string::npos;
    return count;
  }
};

inline Scraped ParseScrape(const std::string& text) {
  Scraped result;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("# TYPE ", 0) == 0) {
      std::istringstream words(line.substr(7));
      std::string family;
      words >> family >> result.types[family];
    } else if (!line.empty() && line[0] != '#') {
      const size_t space = line.rfind(' ');
      result.series[line.substr(0, space)] = std::stod(line.substr(space + 1));
    }
  }
  return result;
}

}  // namespace stepback::telemetry

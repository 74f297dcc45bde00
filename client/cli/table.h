// Rows as aligned columns without boxes, so that awk and people can both read them.
#pragma once

#include <string>
#include <vector>

namespace stepback::cli {

class Table {
 public:
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string ToString() const;
  void Print() const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

// "1.5 GiB", "12 B".
std::string HumanBytes(double bytes);
// "3 s", "2 min", "5 h".
std::string HumanSeconds(double seconds);

}  // namespace stepback::cli

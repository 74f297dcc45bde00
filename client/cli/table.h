// Columns of text: aligned, headed, no boxes, so that they read well in a terminal and in a pipe.
//
//   Table table({"NAME", "VERSION"});
//   table.Add({"lm", "1.7"});
//   table.Print(std::cout);
#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace stepback::cli {

class Table {
 public:
  Table() = default;
  explicit Table(std::vector<std::string> head) : head_(std::move(head)) {}

  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  // A table of two columns without a head.
  void AddField(const std::string& name, const std::string& value) { Add({name, value}); }
  // Shown when there are no rows.
  void SetEmpty(std::string sentence) { empty_ = std::move(sentence); }
  void Print(std::ostream& out) const;

 private:
  std::vector<std::string> head_;
  std::vector<std::vector<std::string>> rows_;
  std::string empty_;
};

}  // namespace stepback::cli

#include "client/cli/table.h"

#include <algorithm>

namespace stepback::cli {
namespace {

// Characters, not bytes: names may hold UTF-8.
size_t Width(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

void PrintRow(const std::vector<std::string>& row, const std::vector<size_t>& widths, std::ostream& out) {
  for (size_t i = 0; i < row.size(); ++i) {
    out << row[i];
    if (i + 1 < row.size()) out << std::string(widths[i] - Width(row[i]) + 2, ' ');
  }
  out << "\n";
}

}  // namespace

void Table::Print(std::ostream& out) const {
  if (rows_.empty() && !empty_.empty()) {
    out << empty_ << "\n";
    return;
  }
  std::vector<std::vector<std::string>> all = rows_;
  if (!head_.empty()) all.insert(all.begin(), head_);
  std::vector<size_t> widths;
  for (const auto& row : all) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Width(row[i]));
  }
  for (const auto& row : all) PrintRow(row, widths, out);
}

}  // namespace stepback::cli

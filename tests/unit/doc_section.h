// The part of a document that is generated from code, between `<!-- generated -->` and `<!-- end -->`. A test
// compares it with what the code says; run the test with STEPBACK_UPDATE_DOCS=1 to write it anew, then review
// the diff.
#pragma once

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

namespace stepback {

inline std::string ReadWholeFile(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// The file's text with `generated` in the marked place; "" when the markers are missing.
inline std::string WithGenerated(const std::string& text, const std::string& generated) {
  const std::string begin = "<!-- generated -->\n", end = "<!-- end -->\n";
  const size_t from = text.find(begin), to = text.find(end);
  if (from == std::string::npos || to == std::string::npos || to < from) return "";
  return text.substr(0, from + begin.size()) + generated + text.substr(to);
}

inline bool UpdatingDocs() { return std::getenv("STEPBACK_UPDATE_DOCS") != nullptr; }

// True when the document at `path` (from the repository root) holds `generated`; writes it first when asked
// to.
inline bool DocumentHolds(const std::string& path, const std::string& generated) {
  const std::string file = STEPBACK_SOURCE_DIR "/" + path;
  const std::string text = ReadWholeFile(file), wanted = WithGenerated(text, generated);
  if (wanted.empty()) return false;
  if (UpdatingDocs() && text != wanted) std::ofstream(file) << wanted;
  return ReadWholeFile(file) == wanted;
}

}  // namespace stepback

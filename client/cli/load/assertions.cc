#include "client/cli/load/assertions.h"

#include "client/cli/durations.h"
#include "client/cli/load/report.h"
#include "fmt/core.h"
#include "server/base/status_macros.h"

namespace stepback::cli::load {
namespace {

absl::StatusOr<Assertion> ParseOne(const std::string& text) {
  const std::map<std::string, double> known = Figures(Result{.seconds = 1});
  for (const char* comparison : {"<=", ">=", "==", "<", ">"}) {
    const size_t at = text.find(comparison);
    if (at == std::string::npos) continue;
    Assertion assertion{.text = text, .name = text.substr(0, at), .comparison = comparison};
    if (known.count(assertion.name) == 0) {
      return absl::InvalidArgumentError(fmt::format("--assert '{}': no figure '{}'", text, assertion.name));
    }
    ASSIGN_OR_RETURN(assertion.bound, ParseSeconds(text.substr(at + std::string(comparison).size())));
    return assertion;
  }
  return absl::InvalidArgumentError(fmt::format("--assert '{}': expected FIGURE<BOUND, e.g. p99<0.5s", text));
}

bool Holds(const Assertion& a, double value) {
  if (a.comparison == "<") return value < a.bound;
  if (a.comparison == "<=") return value <= a.bound;
  if (a.comparison == ">") return value > a.bound;
  if (a.comparison == ">=") return value >= a.bound;
  return value == a.bound;
}

}  // namespace

absl::StatusOr<std::vector<Assertion>> ParseAssertions(const std::vector<std::string>& texts) {
  std::vector<Assertion> assertions;
  for (const std::string& text : texts) {
    for (size_t start = 0; start <= text.size();) {
      const size_t comma = std::min(text.find(',', start), text.size());
      ASSIGN_OR_RETURN(Assertion assertion, ParseOne(text.substr(start, comma - start)));
      assertions.push_back(std::move(assertion));
      start = comma + 1;
    }
  }
  return assertions;
}

absl::Status CheckAssertions(const std::vector<Assertion>& assertions,
                             const std::map<std::string, double>& figures) {
  std::string broken;
  for (const Assertion& a : assertions) {
    const double value = figures.at(a.name);
    if (!Holds(a, value)) broken += fmt::format("{}{} (was {})", broken.empty() ? "" : ", ", a.text, value);
  }
  return broken.empty() ? absl::OkStatus() : absl::FailedPreconditionError("does not hold: " + broken);
}

}  // namespace stepback::cli::load

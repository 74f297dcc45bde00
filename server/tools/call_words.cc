#include "server/tools/call_words.h"

#include "absl/strings/str_cat.h"
#include "stepback/v1/durable.pb.h"

namespace stepback {
namespace {

constexpr const char* kNames[] = {"",       "push",    "open",   "close", "evict",   "tick",
                                  "update", "restore", "import", "term",  "failures"};

std::string Words(const v1::LoggedPush& push) {
  constexpr const char* kKinds[] = {"?", "gradient", "delta", "weights"};
  std::string words = absl::StrCat(push.kind() < std::size(kKinds) ? kKinds[push.kind()] : "?", " on ",
                                   push.base_term(), ".", push.base_counter(), ", codec ", push.codec(), ", ",
                                   push.samples(), " samples, ", push.local_steps(), " steps");
  if (push.has_fragment()) absl::StrAppend(&words, ", fragment ", push.fragment());
  if (push.loss_scale() != 1) absl::StrAppend(&words, ", loss scale ", push.loss_scale());
  if (push.not_finite()) absl::StrAppend(&words, ", not finite");
  return words;
}

std::string Words(const v1::LoggedTick& tick) {
  std::string words;
  for (const std::string& id : tick.lapsed()) absl::StrAppend(&words, words.empty() ? "ends " : ", ", id);
  return words;
}

std::string Words(const v1::LoggedUpdate& update) {
  std::string words;
  for (const auto& value : update.values())
    absl::StrAppend(&words, words.empty() ? "" : ", ", value.path(), "=", value.value());
  return words;
}

std::string Words(const v1::LoggedFailures& failures) {
  std::string words = absl::StrCat("of the call at ", failures.position());
  if (failures.refused()) absl::StrAppend(&words, ", which was refused");
  for (const auto& step : failures.steps())
    absl::StrAppend(&words, ", step ", step.step(), ": ", step.message());
  return words;
}

}  // namespace

std::string CallName(const LogRecord& record) {
  return record.type >= 1 && record.type < std::size(kNames) ? kNames[record.type]
                                                             : absl::StrCat("type ", record.type);
}

std::string CallDetails(const LogRecord& record) {
  v1::LoggedCall call;
  if (!call.ParseFromString(record.body) || call.call_case() != record.type) return "not a call";
  switch (call.call_case()) {
    case v1::LoggedCall::kPush:
      return Words(call.push());
    case v1::LoggedCall::kOpen:
      return call.open().role() == 2 ? "as a reader" : "";
    case v1::LoggedCall::kTick:
      return Words(call.tick());
    case v1::LoggedCall::kUpdate:
      return Words(call.update());
    case v1::LoggedCall::kRestore:
      return absl::StrCat("snapshot ", call.restore().generation(), " as term ", call.restore().term());
    case v1::LoggedCall::kTerm:
      return absl::StrCat("term ", call.term().term());
    case v1::LoggedCall::kFailures:
      return Words(call.failures());
    default:
      return "";
  }
}

}  // namespace stepback

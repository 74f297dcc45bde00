#include "server/tools/model_events.h"

#include <algorithm>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/base/status_macros.h"

namespace stepback {
namespace {

bool Concerns(const std::string& client, const v1::EventRecord& record) {
  for (const v1::MergeEvent::Member& member : record.merge().members()) {
    if (member.client_id() == client) return true;
  }
  return std::any_of(record.fields().begin(), record.fields().end(), [&](const v1::StoredLabel& field) {
    return field.name() == "client" && field.value() == client;
  });
}

}  // namespace

// A counter alone is of any term: counters never fall.
bool Matches(const EventFilter& filter, const v1::EventRecord& record) {
  if (!filter.name.empty() && record.name() != filter.name) return false;
  if (filter.since && Version{filter.since->term == 0 ? 0 : record.term(), record.counter()} < *filter.since)
    return false;
  return filter.client.empty() || Concerns(filter.client, record);
}

absl::StatusOr<Version> ParseVersion(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, '.');
  Version version{.term = 0, .counter = 0};
  const bool whole = parts.size() == 1 && absl::SimpleAtoi(parts[0], &version.counter);
  const bool both = parts.size() == 2 && absl::SimpleAtoi(parts[0], &version.term) && version.term > 0 &&
                    absl::SimpleAtoi(parts[1], &version.counter);
  if (whole || both) return version;
  return absl::InvalidArgumentError(
      absl::StrCat("'", text, "' is no version; expected a counter (7) or term and counter (2.7)"));
}

absl::StatusOr<std::unique_ptr<ModelEvents>> ModelEvents::Open(FileSystem* fs, const ModelDirectory& model) {
  ASSIGN_OR_RETURN(auto reader, EventReader::Open(fs, model.path, model.model));
  return std::unique_ptr<ModelEvents>(new ModelEvents(model.model, std::move(reader)));
}

absl::StatusOr<bool> ModelEvents::Next(v1::EventRecord* record) {
  EventFrame frame;
  ASSIGN_OR_RETURN(const bool more, reader_->Next(&frame));
  if (!more || record->ParseFromString(frame.body)) return more;
  return absl::DataLossError(absl::StrCat("model '", model_, "': record ", frame.number,
                                          " of the event log verifies, but is no record"));
}

}  // namespace stepback

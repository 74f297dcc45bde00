// The event log of one model as it lies on disk, as records. Reads only, and takes no lock: it may look on
// while a server writes.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "server/core/version.h"
#include "server/store/event_reader.h"
#include "server/tools/model_directories.h"
#include "stepback/v1/events.pb.h"

namespace stepback {

// Which records somebody wants to see; empty fields: all.
struct EventFilter {
  std::string client;  // it did this, or was in the round
  std::string name;
  std::optional<Version> since;
};
bool Matches(const EventFilter& filter, const v1::EventRecord& record);

// "7" or "2.7": a counter (of any term), or term and counter. INVALID_ARGUMENT.
absl::StatusOr<Version> ParseVersion(const std::string& text);

class ModelEvents {
 public:
  static absl::StatusOr<std::unique_ptr<ModelEvents>> Open(FileSystem* fs, const ModelDirectory& model);

  // The next record; settings at the head of a file too (number 0). False: none any more, for now.
  absl::StatusOr<bool> Next(v1::EventRecord* record);
  const EventReader& reader() const { return *reader_; }

 private:
  ModelEvents(std::string model, std::unique_ptr<EventReader> reader)
      : model_(std::move(model)), reader_(std::move(reader)) {}

  const std::string model_;
  const std::unique_ptr<EventReader> reader_;
};

}  // namespace stepback

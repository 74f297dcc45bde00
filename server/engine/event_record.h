// One record of the event log: what happened to a model, as the strand saw it, and as it lies on disk
// (events.proto). Pure.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "server/core/model.h"
#include "server/core/model_version.h"
#include "server/core/spec.h"

namespace stepback {

namespace v1 {
class EventRecord;
}

// Holds no version: what waits to be written keeps no weights alive.
struct LoggedEvent {
  Effects::Event event;
  int64_t wall_nanos = 0;
  // Of the model after it.
  Version version;
  uint64_t settings_version = 0;
  std::shared_ptr<const ModelSpec> spec;
  uint64_t dropped = 0;  // events right before it that found no room
};

// Without numbers.
void StoreEvent(const LoggedEvent& logged, v1::EventRecord* record);
// The settings of `logged` as a record of its own: "settings".
void StoreSettings(const LoggedEvent& logged, v1::EventRecord* record);

}  // namespace stepback

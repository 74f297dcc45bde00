// What the event log's tests share: records that follow from a seed, and reading a whole log.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "server/base/status_macros.h"
#include "server/store/event_reader.h"
#include "server/store/event_writer.h"
#include "tests/fakes/file_system.h"

namespace stepback {

inline constexpr char kEventDir[] = "/events";
inline constexpr char kEventModel[] = "lm";

inline EventFrame TestFrame(uint64_t number) {
  std::mt19937_64 random(number);
  std::string body(random() % 90, '\0');
  for (char& c : body) c = static_cast<char>(random());
  return {number, body};
}

inline std::vector<EventFrame> TestFrames(uint64_t first, uint64_t count) {
  std::vector<EventFrame> frames;
  for (uint64_t i = 0; i < count; ++i) frames.push_back(TestFrame(first + i));
  return frames;
}

inline bool operator==(const EventFrame& a, const EventFrame& b) {
  return a.number == b.number && a.body == b.body;
}

// By number, for messages that one can read.
inline std::vector<uint64_t> NumbersOf(const std::vector<EventFrame>& frames) {
  std::vector<uint64_t> numbers;
  for (const EventFrame& frame : frames) numbers.push_back(frame.number);
  return numbers;
}

struct ReadEvents {
  std::vector<EventFrame> frames;
  std::vector<EventReader::Damage> damaged;
  uint64_t torn_bytes = 0;

  // None of them is other than it was written.
  bool genuine() const {
    for (const EventFrame& frame : frames) {
      if (!(frame == TestFrame(frame.number))) return false;
    }
    return true;
  }
};

inline absl::StatusOr<ReadEvents> ReadAllEvents(FileSystem* fs) {
  ASSIGN_OR_RETURN(const auto reader, EventReader::Open(fs, kEventDir, kEventModel));
  ReadEvents all;
  for (;;) {
    EventFrame frame;
    ASSIGN_OR_RETURN(const bool more, reader->Next(&frame));
    if (!more) break;
    all.frames.push_back(std::move(frame));
  }
  all.damaged = reader->damaged();
  all.torn_bytes = reader->torn_bytes();
  return all;
}

inline absl::StatusOr<std::unique_ptr<EventWriter>> OpenEvents(FileSystem* fs,
                                                               EventWriter::Options options = {}) {
  if (options.salt == 0) options.salt = 0x5a17;
  return EventWriter::Open(fs, kEventDir, kEventModel, options);
}

}  // namespace stepback

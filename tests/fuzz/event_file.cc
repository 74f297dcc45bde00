// A file of an event log: as it lies on disk, or sound frames around any bodies with any bytes behind them.
// What is read covers the file, a writer goes on behind it, and the records are replayed.
#include "server/store/event_writer.h"
#include "server/tools/decision_replay.h"
#include "server/tools/model_events.h"
#include "tests/fakes/file_system.h"
#include "tests/fuzz/input.h"

using namespace stepback;  // NOLINT

namespace {

constexpr char kFile[] = "/m/events-000001.log";

std::string Framed(fuzz::Input* input) {
  const EventFileHeader header{.salt = 7, .number = 1, .model_crc = 0xe3069283};  // of "123456789"
  std::string file;
  AppendEventFileHeader(header, &file);
  for (uint64_t number = 1, frames = input->Byte() % 8; number <= frames; ++number)
    AppendEventFrame(header, file.size(), {number, input->Bytes(input->Byte())}, &file);
  return file + input->Rest();
}

size_t ReadFile(FileSystem* fs, uint64_t* bytes) {
  const auto reader = EventReader::Open(fs, "/m", "123456789");
  FUZZ_CHECK(reader.ok(), reader.status().ToString());
  size_t frames = 0;
  *bytes = 0;
  EventFrame frame;
  for (;; ++frames) {
    const absl::StatusOr<bool> more = (*reader)->Next(&frame);
    if (!more.ok() || !*more) break;
    *bytes += EventFrameBytes(frame.body.size());
  }
  for (const EventReader::Damage& damage : (*reader)->damaged()) *bytes += damage.bytes;
  *bytes += (*reader)->torn_bytes() + ((*reader)->opened() ? kEventFileHeaderBytes : 0);
  return frames;
}

void ReplayFile(FileSystem* fs) {
  const auto events = ModelEvents::Open(fs, {"123456789", "/m"});
  DecisionReplay replay;
  v1::EventRecord record;
  for (;;) {
    const absl::StatusOr<bool> more = (*events)->Next(&record);
    if (!more.ok() || !*more) return;
    replay.Take(record);
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const std::string file = input.Byte() % 2 == 0 ? input.Rest() : Framed(&input);
  FakeFileSystem fs;
  FUZZ_CHECK(fs.CreateDirectory("/m").ok() && fs.OpenForWrite(kFile, WriteMode::kCreate).ok(), "no disk");
  fs.SetContents(kFile, file);
  uint64_t bytes = 0;
  const size_t frames = ReadFile(&fs, &bytes);
  FUZZ_CHECK(bytes == file.size() || DecodeEventFileHeader(std::as_bytes(std::span(file))).status().code() ==
                                         absl::StatusCode::kFailedPrecondition,
             "bytes that are neither record nor damage");
  ReplayFile(&fs);
  const auto writer = EventWriter::Open(&fs, "/m", "123456789", {.salt = 9});
  if (!writer.ok()) return 0;
  size_t written = 0;
  const EventFrame next{(*writer)->next_number(), "one more"};
  FUZZ_CHECK((*writer)->Append({&next, 1}, &written).ok(), "not written");
  FUZZ_CHECK(ReadFile(&fs, &bytes) == frames + 1, "what was there is not there any more");
  return 0;
}

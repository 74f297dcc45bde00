#include "server/store/disk_bandwidth.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <random>
#include <span>

#include "server/base/status_macros.h"
#include "server/store/direct_buffer.h"
#include "server/store/store_paths.h"

namespace stepback {
namespace {

constexpr uint64_t kPieceBytes = 8ull << 20;  // = a full batch of the log
constexpr uint64_t kLeastBytes = 16ull << 20;
constexpr uint64_t kMostBytes = 256ull << 20;
constexpr Duration kLongest = std::chrono::milliseconds(500);

// Not zeros, and not the same block again: some disks and file systems shorten those.
void FillWithNoise(std::span<std::byte> bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  for (size_t at = 0; at + sizeof(uint64_t) <= bytes.size(); at += sizeof(uint64_t)) {
    const uint64_t word = random();
    std::memcpy(bytes.data() + at, &word, sizeof word);
  }
}

absl::StatusOr<DiskBandwidth> WritePieces(WritableFile* file, std::span<std::byte> piece,
                                          const Clock* clock) {
  // Room for the first pieces only: reserving all of it would fail on a disk that is nearly full.
  RETURN_IF_ERROR(file->Allocate(kLeastBytes));
  DiskBandwidth result;
  Duration spent = Duration::zero();
  while (result.bytes < kLeastBytes || (result.bytes < kMostBytes && spent < kLongest)) {
    FillWithNoise(piece, result.bytes + 1);
    const TimePoint began = clock->Now();
    RETURN_IF_ERROR(file->WriteAt(result.bytes, piece));
    RETURN_IF_ERROR(file->SyncData());
    spent += clock->Now() - began;
    result.bytes += piece.size();
  }
  const double seconds = std::chrono::duration<double>(std::max(spent, Duration(1))).count();
  result.bytes_per_second = static_cast<double>(result.bytes) / seconds;
  result.direct_io = file->is_direct();
  return result;
}

}  // namespace

absl::StatusOr<DiskBandwidth> MeasureDiskBandwidth(FileSystem* fs, const std::string& directory,
                                                   const Clock* clock) {
  const std::string path = JoinPath(directory, std::string("bandwidth-test") + kTemporarySuffix);
  // Left by an earlier process that was killed meanwhile.
  if (absl::Status gone = fs->RemoveFile(path); !gone.ok() && !absl::IsNotFound(gone)) return gone;
  ASSIGN_OR_RETURN(const DirectBuffer buffer, DirectBuffer::Make(nullptr, kPieceBytes));
  ASSIGN_OR_RETURN(auto file, fs->OpenForWrite(path, WriteMode::kCreateDirect));
  absl::StatusOr<DiskBandwidth> measured = WritePieces(file.get(), buffer.bytes(), clock);
  file.reset();
  const absl::Status removed = fs->RemoveFile(path);
  if (measured.ok() && !removed.ok()) return removed;
  return measured;
}

}  // namespace stepback

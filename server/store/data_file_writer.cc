#include "server/store/data_file_writer.h"

#include <utility>

#include "server/base/crc32c.h"
#include "server/base/status_macros.h"

namespace stepback {

absl::StatusOr<DataFileWriter> DataFileWriter::Create(FileSystem* fs, const std::string& path,
                                                      uint64_t bytes) {
  ASSIGN_OR_RETURN(auto file, fs->OpenForWrite(path, WriteMode::kCreateDirect));
  RETURN_IF_ERROR(file->Allocate(bytes));
  return DataFileWriter(std::move(file));
}

void DataFileWriter::Checksum(std::span<const std::byte> piece) {
  block_crc_ = ExtendCrc32c(block_crc_, piece.data(), piece.size());
  hash_.Update(piece.data(), piece.size());
}

absl::Status DataFileWriter::WriteBlock(std::span<const std::byte> block) {
  RETURN_IF_ERROR(file_->WriteAt(info_.bytes, block));
  info_.bytes += block.size();
  info_.block_crc32c.push_back(std::exchange(block_crc_, 0));
  return absl::OkStatus();
}

absl::StatusOr<DataFileInfo> DataFileWriter::Finish(bool* sync_failed) {
  const absl::Status synced = file_->SyncData();
  // A full disk may show only now (delayed allocation): the file is lost, the disk is sound.
  *sync_failed = !synced.ok() && !absl::IsResourceExhausted(synced);
  RETURN_IF_ERROR(synced);
  RETURN_IF_ERROR(file_->Close());
  info_.hash128 = hash_.Value();
  return std::move(info_);
}

}  // namespace stepback

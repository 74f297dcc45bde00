#include "server/store/event_writer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/crc32c.h"
#include "server/base/status_macros.h"
#include "server/store/event_reader.h"
#include "server/store/store_paths.h"

namespace stepback {

EventWriter::EventWriter(FileSystem* fs, std::string directory, const std::string& model,
                         const Options& options)
    : fs_(fs),
      directory_(std::move(directory)),
      options_(options),
      model_crc_(Crc32c(model.data(), model.size())) {}

absl::StatusOr<std::unique_ptr<EventWriter>> EventWriter::Open(FileSystem* fs, std::string directory,
                                                               const std::string& model,
                                                               const Options& options) {
  std::unique_ptr<EventWriter> writer(new EventWriter(fs, directory, model, options));
  ASSIGN_OR_RETURN(const std::vector<uint64_t> files, ListEventFiles(fs, directory));
  if (!files.empty()) writer->last_file_ = files.back();
  // The last record lies in the newest file, unless a crash came right after that was begun.
  for (auto file = files.rbegin(); file != files.rend() && writer->next_number_ == 1; ++file) {
    ASSIGN_OR_RETURN(const auto reader, EventReader::Open(fs, directory, model, *file));
    EventFrame frame;
    for (;;) {
      ASSIGN_OR_RETURN(const bool more, reader->Next(&frame));
      if (!more) break;
      if (frame.number >= writer->next_number_) writer->next_number_ = frame.number + 1;
    }
    const bool sound = reader->opened() && reader->damaged().empty();
    if (file == files.rbegin() && sound) RETURN_IF_ERROR(writer->GoOnBehind(*reader));
  }
  return writer;
}

// A torn tail holds no whole record (EventReader would have found it): it is cut off.
absl::Status EventWriter::GoOnBehind(const EventReader& newest) {
  ASSIGN_OR_RETURN(file_,
                   fs_->OpenForWrite(JoinPath(directory_, EventFileName(newest.file())), WriteMode::kAppend));
  if (newest.torn_bytes() > 0) RETURN_IF_ERROR(file_->Truncate(newest.offset()));
  header_ = newest.header();
  size_ = newest.offset();
  return absl::OkStatus();
}

absl::Status EventWriter::Append(std::span<const EventFrame> frames, size_t* written) {
  *written = 0;
  std::string bytes;
  for (size_t i = 0; i < frames.size(); ++i) {
    const uint64_t end = size_ + bytes.size() + EventFrameBytes(frames[i].body.size());
    if (file_ == nullptr || (end > options_.file_bytes && size_ + bytes.size() > kEventFileHeaderBytes)) {
      RETURN_IF_ERROR(Flush(&bytes));
      *written = i;
      RETURN_IF_ERROR(BeginFile());
    }
    AppendEventFrame(header_, size_ + bytes.size(), frames[i], &bytes);
  }
  RETURN_IF_ERROR(Flush(&bytes));
  *written = frames.size();
  if (!frames.empty()) next_number_ = frames.back().number + 1;
  return absl::OkStatus();
}

// What a failed write has left is cut off again, so that a full disk does not cost a file every time.
absl::Status EventWriter::Flush(std::string* bytes) {
  if (bytes->empty()) return absl::OkStatus();
  unsynced_ = true;
  const absl::Status appended = file_->Append(std::as_bytes(std::span(*bytes)));
  if (appended.ok()) {
    size_ += bytes->size();
    bytes->clear();
    return absl::OkStatus();
  }
  if (!file_->Truncate(size_).ok()) file_.reset();
  return appended;
}

absl::Status EventWriter::BeginFile() {
  if (file_ != nullptr) Sync().IgnoreError();  // nobody syncs it later
  file_.reset();
  header_ = {.salt = options_.salt, .number = last_file_ + 1, .model_crc = model_crc_};
  std::string head;
  AppendEventFileHeader(header_, &head);
  if (!preface_.empty()) AppendEventFrame(header_, head.size(), {0, preface_}, &head);
  const std::string path = JoinPath(directory_, EventFileName(header_.number));
  if (absl::Status created = Create(path, &head); !created.ok()) {
    file_.reset();
    fs_->RemoveFile(path).IgnoreError();
    return created;
  }
  last_file_ = header_.number;
  size_ = head.size();
  unsynced_ = true;
  RemoveOld();
  return absl::OkStatus();
}

absl::Status EventWriter::Create(const std::string& path, std::string* head) {
  // Truncate rather than create: an attempt that failed before may have left the name.
  ASSIGN_OR_RETURN(file_, fs_->OpenForWrite(path, WriteMode::kTruncate));
  RETURN_IF_ERROR(file_->Append(std::as_bytes(std::span(*head))));
  return fs_->SyncDirectory(directory_);
}

void EventWriter::RemoveOld() {
  const absl::StatusOr<std::vector<uint64_t>> files = ListEventFiles(fs_, directory_);
  if (!files.ok()) return;
  for (size_t i = 0; i + options_.files_kept < files->size(); ++i)
    fs_->RemoveFile(JoinPath(directory_, EventFileName((*files)[i]))).IgnoreError();
}

absl::Status EventWriter::Sync() {
  if (file_ == nullptr || !std::exchange(unsynced_, false)) return absl::OkStatus();
  absl::Status synced = file_->SyncData();
  if (!synced.ok()) file_.reset();
  return synced;
}

}  // namespace stepback

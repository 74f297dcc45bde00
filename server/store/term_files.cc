#include "server/store/term_files.h"

#include <algorithm>
#include <memory>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/failpoint.h"
#include "server/base/status_macros.h"
#include "server/store/store_paths.h"

namespace stepback {
namespace {

constexpr size_t kFilesKept = 2;

}  // namespace

TermFiles::TermFiles(FileSystem* fs, std::string directory) : fs_(fs), directory_(std::move(directory)) {}

absl::Status TermFiles::Recover(const std::vector<std::string>& names) {
  files_.clear();
  for (const std::string& name : names) {
    if (auto term = ParseTermName(name)) files_.push_back(*term);
  }
  std::sort(files_.begin(), files_.end());
  if (!files_.empty()) NoteDurable(files_.back());
  return RemoveOld();
}

void TermFiles::NoteDurable(uint64_t term) { term_ = std::max(term_, term); }

absl::Status TermFiles::Raise(uint64_t term, bool* sync_failed) {
  *sync_failed = false;
  if (term <= term_) {
    return absl::InvalidArgumentError(absl::StrCat("term ", term, " is not above the durable term ", term_));
  }
  FAILPOINT("term.before_create");
  if (!FAILPOINT("plant.term_not_written")) RETURN_IF_ERROR(Create(term, sync_failed));
  FAILPOINT("term.after_create");
  term_ = term;
  files_.push_back(term);
  RemoveOld().IgnoreError();  // tried again at the next start
  return absl::OkStatus();
}

absl::Status TermFiles::Create(uint64_t term, bool* sync_failed) {
  // Truncate rather than create: an attempt that failed before may have left the name.
  ASSIGN_OR_RETURN(auto file, fs_->OpenForWrite(JoinPath(directory_, TermName(term)), WriteMode::kTruncate));
  const std::string text = absl::StrCat("term ", term, "\n");
  RETURN_IF_ERROR(file->Append(std::as_bytes(std::span(text))));
  *sync_failed = true;
  FAILPOINT("term.before_sync");
  RETURN_IF_ERROR(file->Sync());
  FAILPOINT("term.after_sync");
  RETURN_IF_ERROR(fs_->SyncDirectory(directory_));
  *sync_failed = false;
  return file->Close();
}

absl::Status TermFiles::RemoveOld() {
  while (files_.size() > kFilesKept) {
    FAILPOINT("term.before_remove");
    RETURN_IF_ERROR(fs_->RemoveFile(JoinPath(directory_, TermName(files_.front()))));
    files_.erase(files_.begin());
  }
  return absl::OkStatus();
}

}  // namespace stepback

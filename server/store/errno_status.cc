#include "server/store/errno_status.h"

#include <cerrno>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace stepback {

absl::StatusCode CodeOfErrno(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      return absl::StatusCode::kNotFound;
    case EEXIST:
    case ENOTEMPTY:
      return absl::StatusCode::kAlreadyExists;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
      return absl::StatusCode::kResourceExhausted;
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::StatusCode::kPermissionDenied;
    case EIO:
    case ENXIO:
    case ESTALE:
    case EILSEQ:
    case EUCLEAN:  // the file system found its own structures damaged
    case EBADMSG:
      return absl::StatusCode::kDataLoss;
    case ENAMETOOLONG:
      return absl::StatusCode::kInvalidArgument;
    default:
      return absl::StatusCode::kInternal;
  }
}

absl::Status ErrnoStatus(int error_number, std::string_view call, std::string_view path) {
  // Not strerror: other threads may be in it.
  const std::string reason = std::generic_category().message(error_number);
  return absl::Status(CodeOfErrno(error_number),
                      absl::StrCat(absl::string_view(call.data(), call.size()), " '",
                                   absl::string_view(path.data(), path.size()), "': ", reason));
}

}  // namespace stepback

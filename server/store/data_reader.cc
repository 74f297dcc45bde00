#include "server/store/data_reader.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "server/store/data_file_reader.h"
#include "server/store/side_thread.h"
#include "server/store/snapshot_format.h"

namespace stepback {

DataReader::DataReader(FileSystem* fs, std::string directory, const Manifest& manifest,
                       std::vector<std::byte*> arrays)
    : fs_(fs),
      directory_(std::move(directory)),
      manifest_(manifest),
      arrays_(std::move(arrays)),
      queue_(manifest.files.size()) {}

absl::Status DataReader::Read() {
  const uint64_t readers = std::min<uint64_t>(kReadersMax, manifest_.files.size());
  std::vector<std::unique_ptr<SideThread>> others;
  for (uint64_t i = 1; i < readers; ++i) {
    others.push_back(std::make_unique<SideThread>(/*threaded=*/true));
    others.back()->Start([this] { return ReadFiles(), absl::OkStatus(); }).IgnoreError();
  }
  ReadFiles();
  others.clear();  // waits
  return queue_.status();
}

void DataReader::ReadFiles() {
  DataFileReader reader(fs_, directory_, manifest_, arrays_);
  while (const std::optional<uint64_t> index = queue_.Take()) {
    queue_.Finish(*index, reader.Read(*index, [&] { return queue_.GivenUp(*index); }));
  }
}

}  // namespace stepback

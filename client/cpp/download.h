// Receives one version: header, chunks in order, Commit. Nothing counts without the Commit.
#pragma once

#include "absl/status/status.h"
#include "client/cpp/difference_sink.h"
#include "client/cpp/message.h"
#include "client/cpp/pull_sink.h"
#include "stepback/results.h"
#include "stepback/v1/training.pb.h"

namespace stepback::client {

class Download {
 public:
  // Bytes go to `sink`, or to `difference` (nullptr: none was asked for) when the server answers with one;
  // both outlive it. `fingerprint`: of the caller's layout.
  Download(PullSink* sink, std::string fingerprint, DifferenceSink* difference = nullptr);

  // DATA_LOSS when the stream contradicts itself or its checksums; FAILED_PRECONDITION (FINGERPRINT_MISMATCH)
  // when the server's table is another one.
  absl::Status OnHeader(const v1::PullHeader& header);
  absl::Status OnChunk(const ReceivedChunk& chunk);
  absl::Status OnCommit(const v1::Commit& commit);

  bool has_header() const { return has_header_; }
  // Commit has been checked, or the header said "not modified".
  bool complete() const { return complete_; }
  const PullInfo& info() const { return info_; }
  const v1::PullHeader& header() const { return header_; }

 private:
  absl::Status Begin();
  uint64_t total_bytes() const;
  uint64_t received() const;

  PullSink* const sink_;
  const std::string fingerprint_;
  DifferenceSink* const difference_;
  bool is_difference_ = false;
  bool has_header_ = false;
  bool complete_ = false;
  uint32_t crc_of_crcs_ = 0;
  PullInfo info_;
  v1::PullHeader header_;
};

}  // namespace stepback::client

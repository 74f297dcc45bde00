// The versions of one view that readers have got by differences, each of which starts from the one before:
// every version is encoded once, on the first pull that asks for it, and all readers get the same bytes. A
// version that nobody pulled is not in the chain.
//
// Keeps the full form of its newest version and the differences of the last kLinksMax before it, as long as
// those together are smaller than the full form: whoever is further behind is better off with that. So a
// chain holds at most twice the full form (4 B/parameter lossless, 8 B with a codec).
//
// Threads: any; one encodes, the others wait for it.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "server/base/mutex.h"
#include "server/engine/difference_encoder.h"
#include "server/engine/live_version.h"

namespace stepback {

class DifferenceChain {
 public:
  static constexpr size_t kLinksMax = 64;

  // `id`: tells this chain's bytes from those of another chain of the same view.
  DifferenceChain(View view, int codec, uint64_t id, FormMemory memory)
      : view_(std::move(view)), codec_(codec), id_(id), memory_(std::move(memory)) {}

  const View& view() const { return view_; }
  int codec() const { return codec_; }

  struct Answer {
    PullReader::Difference what;
    std::vector<SharedBytes> parts;  // the payload
  };
  // For a reader with `has`. nullopt: the chain is past `live`, which its readers skipped. MEMORY_FULL,
  // DEVICE_ERROR; errors of LiveVersion::Form.
  absl::StatusOr<std::optional<Answer>> Read(const std::shared_ptr<LiveVersion>& live,
                                             const DifferenceSpec& has);
  uint64_t held_bytes() const { return held_bytes_; }

 private:
  struct Link {
    Version from;
    SharedBytes bytes;
  };
  absl::Status Advance(const std::shared_ptr<LiveVersion>& live) REQUIRES(mu_);
  void DropOldLinks() REQUIRES(mu_);
  Answer AnswerTo(const DifferenceSpec& has) const REQUIRES(mu_);

  const View view_;
  const int codec_;
  const uint64_t id_;
  const FormMemory memory_;
  std::atomic<uint64_t> held_bytes_{0};
  Mutex mu_;
  std::shared_ptr<const Layout> layout_ GUARDED_BY(mu_);
  Version at_ GUARDED_BY(mu_);
  SharedBytes whole_ GUARDED_BY(mu_);  // what readers at `at_` have; none before the first pull
  std::deque<Link> links_ GUARDED_BY(mu_);
};

}  // namespace stepback

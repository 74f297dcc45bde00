// Cuts runs of elements into tasks of bounded size. The cut depends on the runs alone, never on the number of
// threads, so results do not either. Owned and used by one call.
//
//   TaskList tasks(elements_max, granule);
//   tasks.Add(run, count);                  // runs in order
//   for (const Piece& piece : tasks[i]) ...
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace stepback::kernels::cpu {

inline constexpr size_t kTaskBytes = size_t{4} << 20;

// Elements begin .. begin + count of run `run`; begins at a multiple of the granule.
struct Piece {
  size_t run = 0;
  uint64_t begin = 0;
  uint64_t count = 0;
};

class TaskList {
 public:
  // A task holds at most `elements_max` elements (rounded down to the granule, at least one granule).
  TaskList(size_t elements_max, size_t granule)
      : capacity_(std::max(elements_max / granule, size_t{1}) * granule), granule_(granule) {}

  void Add(size_t run, uint64_t count) {
    for (uint64_t begin = 0; begin < count;) {
      if (room_ < granule_) Open();
      const uint64_t take = std::min<uint64_t>(count - begin, room_ / granule_ * granule_);
      pieces_.push_back({run, begin, take});
      begin += take;
      room_ -= take;
    }
  }

  size_t size() const { return starts_.size(); }
  std::span<const Piece> operator[](size_t task) const {
    const size_t end = task + 1 < starts_.size() ? starts_[task + 1] : pieces_.size();
    return std::span(pieces_).subspan(starts_[task], end - starts_[task]);
  }

 private:
  void Open() {
    starts_.push_back(pieces_.size());
    room_ = capacity_;
  }

  const size_t capacity_;
  const size_t granule_;
  size_t room_ = 0;
  std::vector<Piece> pieces_;
  std::vector<size_t> starts_;
};

}  // namespace stepback::kernels::cpu

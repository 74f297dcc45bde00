// The steps of a call whose outcome depends on the machine: reservations, which may find no memory, and passes
// over weights, which may find none or lose their device. Counted within the call, so that a failure can be
// told from outside and be repeated in a replay, on a machine that would not fail. Owned by a ModelState.
//
//   steps.Begin(recorded);                                  // a call begins
//   RETURN_IF_ERROR(steps.Run([&] { return Allocate(); }));  // fails if this step failed then
//   effects.failures = steps.TakeFailures();
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace stepback {

struct StepFailure {
  uint32_t step = 0;    // within its call, from 0
  absl::Status status;  // RESOURCE_EXHAUSTED(NO_MEMORY), INTERNAL(DEVICE_ERROR)
  friend bool operator==(const StepFailure&, const StepFailure&) = default;
};
using StepFailures = std::vector<StepFailure>;  // ascending

class MachineSteps {
 public:
  void Begin(StepFailures recorded) {
    next_ = 0;
    recorded_ = std::move(recorded);
    failures_.clear();
  }
  // What `step` returns, an absl::Status or absl::StatusOr; or, without running it, how it failed then.
  template <typename Step>
  auto Run(Step step) -> decltype(step()) {
    const uint32_t number = next_++;
    for (const StepFailure& failure : recorded_) {
      if (failure.step != number) continue;
      failures_.push_back(failure);
      return failure.status;
    }
    auto result = step();
    Note(number, StatusIn(result));
    return result;
  }
  StepFailures TakeFailures() { return std::exchange(failures_, {}); }

 private:
  static const absl::Status& StatusIn(const absl::Status& status) { return status; }
  template <typename Value>
  static const absl::Status& StatusIn(const absl::StatusOr<Value>& result) {
    return result.status();
  }
  // Other failures (a result that is not finite) are the same on every machine.
  void Note(uint32_t number, const absl::Status& status) {
    if (status.code() == absl::StatusCode::kResourceExhausted || status.code() == absl::StatusCode::kInternal)
      failures_.push_back({number, status});
  }

  uint32_t next_ = 0;
  StepFailures recorded_, failures_;
};

}  // namespace stepback

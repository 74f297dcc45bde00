// What an intake decided under its mutex and does after releasing it: callbacks run and memory goes without
// the lock. Only for intake*.cc.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "server/engine/intake.h"

namespace stepback {

struct Intake::Actions {
  template <typename T>
  void Answer(Done<T> done, absl::StatusOr<T> value) {
    tasks.push_back([done = std::move(done), value = std::move(value)] { done(value); });
  }

  // In the order of the decisions. Not a destructor: a callback may take long or own the last reference to a
  // stream.
  void Run() {
    for (const std::shared_ptr<StagedPart>& part : dropped) part->Clear();
    for (const Task& task : tasks) task();
  }

  std::vector<Task> tasks;
  std::vector<std::shared_ptr<StagedPart>> dropped;
  std::vector<std::optional<PendingStart>> withdrawn;  // dropped uncalled
};

}  // namespace stepback

// A worker with several pushes in flight on the fake server. Push i of a test moves every element by its own
// power of two, so the weights tell which pushes are in, and how often.
#pragma once

#include <cmath>
#include <thread>
#include <vector>

#include "tests/unit/client_fixture.h"

namespace stepback::client {

class WindowFixture : public ClientFixture {
 protected:
  static constexpr uint64_t kElements = 5000;  // five chunks
  static constexpr uint64_t kPushBytes = 4 * kElements;

  void Start(JoinOptions join, Durability durability = Durability::kRound,
             RoundPolicy policy = RoundPolicy::kAsync, const ConnectOptions& options = Options()) {
    ModelDefinition definition = Definition({{"w", {kElements}}}, Mode::kDelta, policy);
    definition.durability = durability;
    model_ = std::make_unique<Model>(MakeModel(definition, options));
    worker_ = model_->Join("a", join).value();
    trainer_ = std::make_unique<Trainer>(*model_);
    ASSERT_OK(worker_->Pull(trainer_->weights.sinks()));
  }

  static float Size(int i) { return std::ldexp(1.0f, i); }
  // The weights go back to the base at once: the push has its own copy.
  absl::StatusOr<PushFuture> Push(int i, const PushOptions& options = {}) {
    trainer_->Add(0, Size(i));
    absl::StatusOr<PushFuture> future = worker_->PushAsync(trainer_->weights.data(), options);
    trainer_->Add(0, -Size(i));
    return future;
  }
  std::vector<PushFuture> PushAll(int first, int last) {
    std::vector<PushFuture> futures;
    for (int i = first; i <= last; ++i) futures.push_back(Push(i).value());
    return futures;
  }
  // Pushes first..last, as a difference from the initial weights.
  static float Sum(int first, int last) { return Size(last + 1) - Size(first); }
  float Moved(size_t element = 0) const { return fake_.floats(0)[element] - static_cast<float>(element); }

  void Inject(const std::function<void(fakes::Faults*)>& change) { fake_.Inject(change); }
  // Uploads of push `sequence` stop after `chunks` chunks, until 0 is held.
  void Hold(uint64_t sequence, int chunks = 0) {
    Inject([&](fakes::Faults* faults) {
      faults->hold_sequence = sequence;
      faults->break_after_chunks = chunks;
    });
  }
  void Await(const std::string& what, uint64_t count) const {
    while (fake_.Count(what) < count) std::this_thread::yield();
  }
  static std::vector<uint64_t> Numbers(uint64_t last) {
    std::vector<uint64_t> numbers;
    for (uint64_t i = 1; i <= last; ++i) numbers.push_back(i);
    return numbers;
  }

  std::unique_ptr<Model> model_;
  std::unique_ptr<Worker> worker_;
  std::unique_ptr<Trainer> trainer_;
};

}  // namespace stepback::client

// A value that goes up and down. Thread: any, lock-free; the last Set wins.
#pragma once

#include <atomic>

namespace stepback::telemetry {

class Gauge {
 public:
  void Set(double value) { value_.store(value, std::memory_order_relaxed); }
  void Add(double delta) { value_.fetch_add(delta, std::memory_order_relaxed); }
  double Value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

}  // namespace stepback::telemetry

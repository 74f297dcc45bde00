// Waits for something that another thread or process brings about; no fixed sleeps. False after the limit.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

namespace stepback {

inline bool Eventually(const std::function<bool()>& condition,
                       std::chrono::seconds limit = std::chrono::seconds(30)) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace stepback

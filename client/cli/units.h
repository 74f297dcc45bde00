// Numbers as people write and read them: "100M", "64MiB", "250ms", "2 min ago". Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace stepback::cli {

// "90", "1.5k", "100M", "2G": decimal. INVALID_ARGUMENT otherwise.
absl::StatusOr<uint64_t> ParseCount(const std::string& text);
// "10ms", "2.5s", "3m", "1h"; a bare number is seconds.
absl::StatusOr<double> ParseSeconds(const std::string& text);

std::string ShowBytes(uint64_t bytes);    // "1.50 GB"
std::string ShowCount(uint64_t count);    // "100,000,000"
std::string ShowSeconds(double seconds);  // "12.3 ms"
std::string ShowNumber(double number);    // "0.7"
std::string ShowAge(std::chrono::system_clock::time_point then, std::chrono::system_clock::time_point now);
std::string ShowTime(std::chrono::system_clock::time_point time);  // RFC 3339, UTC

}  // namespace stepback::cli

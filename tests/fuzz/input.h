// Takes values from the front of a fuzzer's bytes; when they are used up, zeros.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "server/base/check.h"

namespace stepback::fuzz {

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), left_(size) {}

  bool empty() const { return left_ == 0; }
  size_t left() const { return left_; }
  uint8_t Byte() { return Take<uint8_t>(); }
  uint16_t Word() { return Take<uint16_t>(); }
  uint64_t Number() { return Take<uint64_t>(); }
  std::string Bytes(size_t count) {
    count = std::min(count, left_);
    std::string bytes(reinterpret_cast<const char*>(data_), count);
    data_ += count;
    left_ -= count;
    return bytes;
  }
  std::string Rest() { return Bytes(left_); }

 private:
  template <typename T>
  T Take() {
    T value{};
    const size_t count = std::min(sizeof value, left_);
    if (count > 0) std::memcpy(&value, data_, count);
    data_ += count;
    left_ -= count;
    return value;
  }

  const uint8_t* data_;
  size_t left_;
};

}  // namespace stepback::fuzz

// `what` in words: a string.
#define FUZZ_CHECK(condition, what) SB_CHECK(condition, "%s", std::string(what).c_str())

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

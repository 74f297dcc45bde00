// The words for every enumeration, as the CLI, JSON and messages use them.
#include "stepback/definition.h"
#include "stepback/info.h"
#include "stepback/results.h"
#include "stepback/tensor.h"

namespace stepback::client {
namespace {

template <size_t kCount, typename Enum>
std::string Word(const char* const (&words)[kCount], Enum value) {
  const size_t index = static_cast<size_t>(value) - 1;  // every enumeration counts from 1
  return index < kCount ? words[index] : "unknown";
}

}  // namespace

std::string NameOf(DataType type) {
  static constexpr const char* kWords[] = {"f32", "f64", "f16", "bf16", "i8",
                                           "i16", "i32", "i64", "u8",   "bool"};
  return Word(kWords, type);
}

std::string NameOf(Role role) {
  static constexpr const char* kWords[] = {"trained", "averaged", "carried", "frozen"};
  return Word(kWords, role);
}

std::string NameOf(Mode value) {
  static constexpr const char* kWords[] = {"gradient", "delta"};
  return Word(kWords, value);
}

std::string NameOf(RoundPolicy value) {
  static constexpr const char* kWords[] = {"sync", "async", "buffered"};
  return Word(kWords, value);
}

std::string NameOf(Reduction value) {
  static constexpr const char* kWords[] = {"running", "ordered"};
  return Word(kWords, value);
}

std::string NameOf(AccumulateType value) {
  static constexpr const char* kWords[] = {"f32", "f64"};
  return Word(kWords, value);
}

std::string NameOf(Weighting value) {
  static constexpr const char* kWords[] = {"equal", "samples"};
  return Word(kWords, value);
}

std::string NameOf(InnerState value) {
  static constexpr const char* kWords[] = {"keep", "reset", "pullback"};
  return Word(kWords, value);
}

std::string NameOf(Durability value) {
  static constexpr const char* kWords[] = {"volatile", "round", "push", "replicated"};
  return Word(kWords, value);
}

std::string NameOf(SessionRole role) {
  static constexpr const char* kWords[] = {"trainer", "reader"};
  return Word(kWords, role);
}

std::string NameOf(Outcome outcome) {
  static constexpr const char* kWords[] = {"applied", "buffered", "skipped", "resynced"};
  return Word(kWords, outcome);
}

}  // namespace stepback::client

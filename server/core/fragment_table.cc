#include "server/core/fragment_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <unordered_map>

#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/core/field_error.h"

namespace stepback {
namespace {

constexpr char kCountField[] = "spec.fragments.count";

// What a tensor weighs in a cut by bytes: as f32 pushes send it.
uint64_t WireBytesOf(const TensorPlace& place) {
  return place.role == Role::kCarried ? place.raw_bytes : place.elements * sizeof(float);
}

std::vector<uint32_t> PushedTensors(const std::vector<TensorPlace>& places) {
  std::vector<uint32_t> pushed;
  for (uint32_t t = 0; t < places.size(); ++t) {
    if (places[t].role != Role::kFrozen) pushed.push_back(t);
  }
  return pushed;
}

// In table order: a tensor opens the next fragment when most of it lies beyond the even border, or when there
// are only as many tensors left as fragments.
std::vector<std::vector<uint32_t>> CutEvenly(const std::vector<TensorPlace>& places,
                                             const std::vector<uint32_t>& pushed, uint64_t count) {
  uint64_t total = 0, before = 0;
  for (const uint32_t t : pushed) total += WireBytesOf(places[t]);
  std::vector<std::vector<uint32_t>> parts(1);
  for (size_t i = 0; i < pushed.size(); ++i) {
    const uint64_t bytes = WireBytesOf(places[pushed[i]]);
    const bool beyond = (2 * before + bytes) * count > 2 * parts.size() * total;
    const bool needed = pushed.size() - i == count - parts.size();
    if (!parts.back().empty() && parts.size() < count && (beyond || needed)) parts.emplace_back();
    parts.back().push_back(pushed[i]);
    before += bytes;
  }
  return parts;
}

using TensorIndex = std::unordered_map<std::string_view, uint32_t>;

absl::StatusOr<uint32_t> FindTensor(const std::string& name, const TensorIndex& index,
                                    const std::vector<TensorPlace>& places, const std::string& field) {
  const auto found = index.find(name);
  if (found == index.end()) {
    return FieldError(field, fmt::format("names tensor '{}', which the model has not", Clip(name, 128)));
  }
  if (places[found->second].role == Role::kFrozen) {
    return FieldError(field, fmt::format("names tensor '{}', which is frozen: it is never pushed", name));
  }
  return found->second;
}

absl::Status CheckPartCount(const FragmentSpec& spec) {
  if (spec.count > 0 && !spec.parts.empty()) {
    return FieldError("spec.fragments", fmt::format("has both count {} and {} parts, expected one of them",
                                                    spec.count, spec.parts.size()));
  }
  const size_t size = spec.parts.empty() ? spec.count : spec.parts.size();
  const std::string field = spec.parts.empty() ? kCountField : "the number of spec.fragments.parts";
  if (size > kMaxFragments)
    return FieldError(field, fmt::format("is {}, expected 1..{}", size, kMaxFragments));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<FragmentTable> FragmentTable::Make(const std::vector<TensorSpec>& tensors,
                                                  const std::vector<TensorPlace>& places,
                                                  const FragmentSpec& spec) {
  RETURN_IF_ERROR(CheckPartCount(spec));
  FragmentTable table;
  if (!spec.any()) return table;
  table.places_.resize(places.size());
  const std::vector<uint32_t> pushed = PushedTensors(places);
  if (spec.count > pushed.size()) {
    return FieldError(kCountField, fmt::format("is {}, expected at most {}, the tensors that are pushed",
                                               spec.count, pushed.size()));
  }
  if (spec.parts.empty()) {
    for (std::vector<uint32_t>& part : CutEvenly(places, pushed, spec.count)) {
      RETURN_IF_ERROR(table.Add(std::move(part), places, kCountField));
    }
    return table;
  }
  TensorIndex index;
  for (uint32_t t = 0; t < tensors.size(); ++t) index.emplace(tensors[t].name, t);
  for (size_t p = 0; p < spec.parts.size(); ++p) {
    const std::string field = fmt::format("spec.fragments.parts[{}]", p);
    std::vector<uint32_t> part;
    for (const std::string& name : spec.parts[p].tensors) {
      ASSIGN_OR_RETURN(part.emplace_back(), FindTensor(name, index, places, field));
    }
    RETURN_IF_ERROR(table.Add(std::move(part), places, field));
  }
  for (const uint32_t t : pushed) {
    if (table.places_[t].fragment >= 0) continue;
    return FieldError("spec.fragments.parts", fmt::format("lacks tensor '{}'", tensors[t].name));
  }
  return table;
}

absl::Status FragmentTable::Add(std::vector<uint32_t> tensors, const std::vector<TensorPlace>& places,
                                const std::string& field) {
  std::sort(tensors.begin(), tensors.end());
  Fragment fragment{.tensors = std::move(tensors)};
  fragment.present.resize((places.size() + 7) / 8);
  for (uint32_t i = 0; i < fragment.tensors.size(); ++i) {
    const uint32_t t = fragment.tensors[i];
    if (places_[t].fragment >= 0 || (i > 0 && fragment.tensors[i - 1] == t)) {
      return FieldError(field,
                        fmt::format("names tensor {} of the table, which is in a fragment already", t));
    }
    fragment.present[t / 8] = static_cast<uint8_t>(fragment.present[t / 8] | 1 << t % 8);
    const ElementRange range{places[t].element_begin, places[t].elements};
    std::vector<ElementRange>& ranges = fragment.ranges;
    if (range.count == 0) continue;
    if (!ranges.empty() && ranges.back().begin + ranges.back().count == range.begin) {
      ranges.back().count += range.count;
    } else {
      ranges.push_back(range);
    }
  }
  if (fragment.ranges.empty()) return FieldError(field, "gives a fragment without elements");
  for (uint32_t i = 0; i < fragment.tensors.size(); ++i) {
    places_[fragment.tensors[i]] = {static_cast<int32_t>(fragments_.size()), i};
  }
  fragments_.push_back(std::move(fragment));
  return absl::OkStatus();
}

uint32_t FragmentOffset(const ModelSpec& spec, uint32_t fragment, uint32_t fragments) {
  const std::vector<FragmentPart>& parts = spec.fragments.parts;
  if (fragment < parts.size() && parts[fragment].offset.has_value()) return *parts[fragment].offset;
  return static_cast<uint32_t>(uint64_t{fragment} * spec.sync_period / fragments);
}

double FragmentMixing(const FragmentSpec& spec) {
  return spec.mixing.value_or(spec.overlap_steps > 0 ? 0.5 : 0);
}

absl::Status FragmentTable::Check(const std::string& model, std::optional<uint32_t> fragment) const {
  if (empty() != fragment.has_value() && (empty() || *fragment < size())) return absl::OkStatus();
  const std::string what = empty() ? fmt::format("fragment is {}, the model has no fragments", *fragment)
                           : !fragment.has_value()
                               ? fmt::format("fragment is not set, expected 0..{}", size() - 1)
                               : fmt::format("fragment is {}, expected 0..{}", *fragment, size() - 1);
  return WithField(Error(absl::StatusCode::kInvalidArgument, "FRAGMENT_INVALID",
                         fmt::format("model '{}': {}", model, what)),
                   "fragment");
}

absl::Status FragmentTable::CheckRanges(const std::string& model, uint32_t fragment,
                                        std::span<const ElementRange> ranges) const {
  const std::vector<ElementRange>& own = fragments_[fragment].ranges;
  for (size_t i = 0; i < ranges.size(); ++i) {
    const ElementRange& range = ranges[i];
    const auto after = std::upper_bound(own.begin(), own.end(), range.begin,
                                        [](uint64_t at, const ElementRange& r) { return at < r.begin; });
    const ElementRange home = after == own.begin() ? ElementRange() : *std::prev(after);
    const uint64_t skip = range.begin - home.begin;
    if (skip <= home.count && range.count <= home.count - skip) continue;
    return WithField(
        Error(absl::StatusCode::kInvalidArgument, "FRAGMENT_INVALID",
              fmt::format("model '{}': ranges[{}] has {} elements at {}, which fragment {} does not hold; it "
                          "begins with {} at {}",
                          model, i, range.count, range.begin, fragment, own[0].count, own[0].begin)),
        "ranges");
  }
  return absl::OkStatus();
}

}  // namespace stepback

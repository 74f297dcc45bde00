// The state hash of a version: XXH3-128 over the digests of its arrays, its counters and its version. By
// content, not by sharing: a version read back from disk hashes as the one that was written.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <type_traits>
#include <vector>

#include "server/base/hash128.h"
#include "server/base/status_macros.h"
#include "server/core/model_arrays.h"
#include "server/core/model_version.h"

namespace stepback {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;
static_assert(std::has_unique_object_representations_v<uint64_t>);
static_assert(sizeof(TensorCounters) == 2 * sizeof(int64_t) + 2 * kernels::kMaxCarry * sizeof(double),
              "counters are hashed as they lie in memory: no padding");

// Digests arrays, each once however many names it has.
class ArrayDigests {
 public:
  ArrayDigests(kernels::Backend* backend, const std::string& model_name)
      : backend_(backend), model_name_(model_name), piece_(kPieceBytes) {}

  absl::StatusOr<std::string> Of(const Array& array) {
    if (array == nullptr) return std::string("-");
    std::string& digest = digests_[array.get()];
    if (digest.empty()) {
      ASSIGN_OR_RETURN(digest, Digest(*array));
    }
    return digest;
  }

 private:
  absl::StatusOr<std::string> Digest(const kernels::Buffer& array) {
    Hash128 hash;
    for (uint64_t done = 0; done < array.bytes(); done += kPieceBytes) {
      const size_t size = std::min<uint64_t>(kPieceBytes, array.bytes() - done);
      RETURN_IF_ERROR(StatusOf(backend_->Download(array, done, piece_.data(), size), model_name_,
                               "reading an array to hash it"));
      hash.Update(piece_.data(), size);
    }
    return hash.Value();
  }

  kernels::Backend* backend_;
  const std::string& model_name_;
  std::vector<std::byte> piece_;
  std::map<const kernels::Buffer*, std::string> digests_;
};

void AddCounters(const ModelVersion& version, Hash128* hash) {
  const uint64_t numbers[] = {version.version.term, version.version.counter, version.sync_phase,
                              version.inner_steps,  version.outer_steps,     version.samples};
  hash->Update(numbers, sizeof numbers);
  hash->Update(version.counters->data(), version.counters->size() * sizeof(TensorCounters));
  for (const FragmentState& fragment : version.fragments) {
    const uint64_t of_fragment[] = {fragment.version.term, fragment.version.counter, fragment.outer_steps,
                                    fragment.inner_steps, fragment.samples};
    hash->Update(of_fragment, sizeof of_fragment);
  }
}

}  // namespace

absl::StatusOr<std::string> StateHash(const ModelVersion& version, kernels::Backend* backend) {
  ArrayDigests digests(backend, version.spec->name);
  std::vector<Array> arrays = {version.phi, version.theta};
  for (const auto* slots : {&version.inner_slots, &version.outer_slots, &version.caches}) {
    arrays.insert(arrays.end(), slots->begin(), slots->end());
    arrays.resize(arrays.size() + kernels::kMaxSlots - slots->size());
  }
  Hash128 hash;
  for (const Array& array : arrays) {
    ASSIGN_OR_RETURN(const std::string digest, digests.Of(array));
    hash.Update(digest);
  }
  AddCounters(version, &hash);
  for (const AverageState& average : version.averages) {
    ASSIGN_OR_RETURN(const std::string digest, digests.Of(average.value));
    hash.Update(digest);
    hash.Update(&average.samples, sizeof average.samples);
    hash.Update(average.carry, sizeof average.carry);
    for (const auto* iterates : {&average.iterates.arrays, &average.iterates.deltas}) {
      for (const Array& iterate : *iterates) {
        ASSIGN_OR_RETURN(const std::string of_iterate, digests.Of(iterate));
        hash.Update(of_iterate);
      }
    }
    hash.Update(average.iterates.products.data(), average.iterates.products.size() * sizeof(double));
  }
  const std::string value = hash.Value();
  return fmt::format("{:02x}", fmt::join(reinterpret_cast<const uint8_t*>(value.data()),
                                         reinterpret_cast<const uint8_t*>(value.data()) + value.size(), ""));
}

}  // namespace stepback

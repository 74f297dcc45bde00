#include "server/engine/model_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "kernels/rule_info.h"
#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/core/spec_check.h"
#include "server/engine/stored_clients.h"
#include "server/engine/stored_spec.h"

namespace stepback {
namespace {

constexpr uint32_t kFormat = 3;           // newest that is read
constexpr uint32_t kFormatFragments = 2;  // of models of fragments; the others write 1
constexpr uint32_t kFormatOpen = 3;       // of models with a log
constexpr char kCounters[] = "counters";
constexpr char kAverage[] = "average";
constexpr char kHistory[] = "history";
static_assert(sizeof(TensorCounters) == 80 && kernels::kMaxCarry == 4,
              "the layout on disk (model_image.proto)");

std::string DeltaName(const std::string& average) { return average + ".delta"; }
std::string SlotName(const char* prefix, size_t index) { return fmt::format("{}.{}", prefix, index); }

// Every rule that the specification names, with its slots.
std::vector<v1::StoredSlots> SlotsOf(const ModelSpec& spec) {
  std::set<std::string> inner = {spec.inner.name};
  for (const GroupSpec& group : spec.groups) {
    if (group.inner) inner.insert(group.inner->name);
  }
  std::vector<v1::StoredSlots> all;
  const auto add = [&](const kernels::RuleInfo* rule, bool outer) {
    if (rule == nullptr) return;
    v1::StoredSlots& slots = all.emplace_back();
    slots.set_rule(std::string(rule->name));
    slots.set_outer(outer);
    for (const kernels::SlotInfo& slot : rule->slots) slots.add_names(std::string(slot.name));
  };
  for (const std::string& name : inner) add(kernels::FindInnerRule(name), false);
  add(kernels::FindOuterRule(spec.outer.name), true);
  // Without arrays of this table, but named: a server that does not know them must not drop them.
  for (const AverageSpec& average : spec.averages) add(kernels::FindAverageRule(average.rule.name), false);
  return all;
}

absl::Status CheckSlots(const v1::ModelImage& image, const ModelSpec& spec) {
  const std::vector<v1::StoredSlots> known = SlotsOf(spec);
  for (const v1::StoredSlots& stored : image.slots()) {
    const auto same = [&](const v1::StoredSlots& slots) {
      return slots.SerializeAsString() == stored.SerializeAsString();
    };
    if (std::none_of(known.begin(), known.end(), same)) {
      return Error(
          absl::StatusCode::kFailedPrecondition, "NEWER_FORMAT",
          fmt::format("the snapshot's rule '{}' has other state arrays than this server's", stored.rule()));
    }
  }
  return absl::OkStatus();
}

void AddArray(const char* name, const Array& array, kernels::Backend* backend,
              std::vector<ArrayView>* views) {
  if (array == nullptr) return;
  const std::byte* const host = const_cast<kernels::Buffer&>(*array).host();
  ArrayView view{.name = name, .bytes = array->bytes(), .data = host};
  if (host == nullptr) {
    view.read = [array, backend](uint64_t offset, std::span<std::byte> to) -> absl::Status {
      if (backend->Download(*array, offset, to.data(), to.size()) == kernels::Status::kOk)
        return absl::OkStatus();
      return Error(absl::StatusCode::kInternal, "DEVICE_ERROR",
                   fmt::format("reading from {} failed", backend->name()));
    };
  }
  views->push_back(std::move(view));
}

void AddSlots(const char* prefix, const std::vector<Array>& arrays, kernels::Backend* backend,
              std::vector<ArrayView>* views) {
  for (size_t i = 0; i < arrays.size(); ++i) AddArray(SlotName(prefix, i).c_str(), arrays[i], backend, views);
}

bool EndsWithPhi(const ModelVersion& version, const AverageState& average) {
  return !average.iterates.arrays.empty() && average.iterates.arrays.back() == version.phi;
}

void StoreAverages(const ModelVersion& version, v1::ModelImage* image) {
  for (const AverageState& average : version.averages) {
    v1::StoredAverageState* const stored = image->add_averages();
    stored->set_samples(average.samples);
    stored->mutable_carry()->Add(std::begin(average.carry), std::end(average.carry));
    stored->set_iterates(static_cast<uint32_t>(average.iterates.arrays.size()));
    stored->set_ends_with_phi(EndsWithPhi(version, average));
    stored->set_deltas(static_cast<uint32_t>(average.iterates.deltas.size()));
    stored->mutable_products()->Add(average.iterates.products.begin(), average.iterates.products.end());
  }
}

absl::StatusOr<std::vector<AverageState>> LoadAverages(const v1::ModelImage& image) {
  std::vector<AverageState> averages;
  for (const v1::StoredAverageState& stored : image.averages()) {
    if (stored.carry_size() != kernels::kMaxCarry) {
      return DamagedImage(fmt::format("an average has {} running scalars, expected {}", stored.carry_size(),
                                      kernels::kMaxCarry));
    }
    AverageState& average = averages.emplace_back();
    average.samples = stored.samples();
    std::copy(stored.carry().begin(), stored.carry().end(), average.carry);
    average.iterates.products = {stored.products().begin(), stored.products().end()};
  }
  return averages;
}

void StoreNumbers(const ModelVersion& version, v1::ModelImage* image) {
  image->set_term(version.version.term);
  image->set_counter(version.version.counter);
  image->set_settings_version(version.settings_version);
  image->set_sync_phase(version.sync_phase);
  image->set_inner_steps(version.inner_steps);
  image->set_outer_steps(version.outer_steps);
  image->set_samples(version.samples);
  image->set_finished(version.finished);
  image->set_update_norm(version.update_norm);
  image->set_weight_norm(version.weight_norm);
  image->set_distance(version.distance);
}

void LoadNumbers(const v1::ModelImage& image, ModelVersion* version) {
  version->version = {.term = image.term(), .counter = image.counter()};
  version->settings_version = image.settings_version();
  version->sync_phase = image.sync_phase();
  version->inner_steps = image.inner_steps();
  version->outer_steps = image.outer_steps();
  version->samples = image.samples();
  version->finished = image.finished();
  version->update_norm = image.update_norm();
  version->weight_norm = image.weight_norm();
  version->distance = image.distance();
}

void StoreFragments(const ModelVersion& version, v1::ModelImage* image) {
  for (const FragmentState& fragment : version.fragments) {
    v1::StoredFragmentState* const stored = image->add_fragments();
    stored->set_term(fragment.version.term);
    stored->set_counter(fragment.version.counter);
    stored->set_outer_steps(fragment.outer_steps);
    stored->set_inner_steps(fragment.inner_steps);
    stored->set_samples(fragment.samples);
  }
}

absl::StatusOr<std::vector<FragmentState>> LoadFragments(const v1::ModelImage& image, const Layout& layout) {
  if (image.fragments_size() != static_cast<int64_t>(layout.fragments().size())) {
    return DamagedImage(fmt::format("it has {} fragments, its specification {}", image.fragments_size(),
                                    layout.fragments().size()));
  }
  std::vector<FragmentState> fragments;
  for (const v1::StoredFragmentState& stored : image.fragments()) {
    fragments.push_back({.version = {.term = stored.term(), .counter = stored.counter()},
                         .outer_steps = stored.outer_steps(),
                         .inner_steps = stored.inner_steps(),
                         .samples = stored.samples()});
  }
  return fragments;
}

absl::StatusOr<v1::ModelImage> ParseRecord(const SnapshotMeta& meta) {
  v1::ModelImage image;
  if (!image.ParseFromString(meta.state)) return DamagedImage("it is not a ModelImage");
  if (image.format() > kFormat) {
    return Error(absl::StatusCode::kFailedPrecondition, "NEWER_FORMAT",
                 fmt::format("the snapshot's record has format {}, this server reads up to {}",
                             image.format(), kFormat));
  }
  if (image.format() == 0) return DamagedImage("it has no format number");
  if (image.term() != meta.term || image.counter() != meta.counter)
    return DamagedImage("it is of another version");
  return image;
}

}  // namespace

std::string ImageRecord(const ModelVersion& version, int64_t created_wall_nanos, const OpenPlace* open) {
  v1::ModelImage image;
  image.set_format(version.fragments.empty() ? 1 : kFormatFragments);
  StoreNumbers(version, &image);
  StoreSpec(*version.spec, image.mutable_spec());
  StoreClients(*version.clients, image.mutable_clients());
  if (open != nullptr) {
    image.set_format(kFormatOpen);
    StoreOpen(*open, *version.clients, image.mutable_open());
  }
  for (v1::StoredSlots& slots : SlotsOf(*version.spec)) *image.add_slots() = std::move(slots);
  image.set_theta_is_phi(version.theta == version.phi || version.theta == nullptr);
  image.set_created_wall_nanos(created_wall_nanos);
  StoreAverages(version, &image);
  StoreFragments(version, &image);
  return image.SerializeAsString();
}

std::vector<ArrayView> ImageArrays(const ModelVersion& version, kernels::Backend* backend,
                                   const OpenPlace* open) {
  std::vector<ArrayView> views;
  for (size_t i = 0; open != nullptr && i < open->state.history.size(); ++i)
    AddArray(SlotName(kHistory, i).c_str(), open->state.history[i].theta, backend, &views);
  AddArray("phi", version.phi, backend, &views);
  if (version.theta != version.phi) AddArray("theta", version.theta, backend, &views);
  AddSlots("inner", version.inner_slots, backend, &views);
  AddSlots("outer", version.outer_slots, backend, &views);
  AddSlots("cache", version.caches, backend, &views);
  for (size_t i = 0; i < version.averages.size(); ++i) {
    const AverageState& average = version.averages[i];
    AddArray(SlotName(kAverage, i).c_str(), average.value, backend, &views);
    const size_t own = average.iterates.arrays.size() - (EndsWithPhi(version, average) ? 1 : 0);
    const std::vector<Array> iterates(average.iterates.arrays.begin(), average.iterates.arrays.begin() + own);
    AddSlots(SlotName(kAverage, i).c_str(), iterates, backend, &views);
    AddSlots(DeltaName(SlotName(kAverage, i)).c_str(), average.iterates.deltas, backend, &views);
  }
  views.push_back({.name = kCounters,
                   .bytes = version.counters->size() * sizeof(TensorCounters),
                   .data = reinterpret_cast<const std::byte*>(version.counters->data())});
  return views;
}

absl::StatusOr<std::optional<uint64_t>> OldestNeededBy(const SnapshotMeta& meta) {
  ASSIGN_OR_RETURN(const v1::ModelImage image, ParseRecord(meta));
  if (!image.has_open()) return std::nullopt;
  ASSIGN_OR_RETURN(const OpenPlace open, LoadOpen(image.open(), {}));
  return OldestNeeded(open);
}

ImageLoader::~ImageLoader() { Clear(); }

ArrayAllocator ImageLoader::allocator() {
  return [this](const SnapshotMeta& meta, const ArrayInfo& info) { return Allocate(meta, info); };
}

std::byte* ImageLoader::Allocate(const SnapshotMeta& meta, const ArrayInfo& info) {
  if (meta.generation != generation_) Clear();
  generation_ = meta.generation;
  Target& target = targets_[info.name];
  if (target.host != nullptr) allocator_->Free(target.host, target.bytes);  // this generation is read again
  target = {.bytes = info.bytes};
  if (info.name != kCounters) {
    target.buffer = backend_->Allocate(info.bytes);
    if (target.buffer == nullptr) return nullptr;
    if (std::byte* const host = target.buffer->host(); host != nullptr) return host;
  }
  return target.host = allocator_->Allocate(info.bytes);
}

void ImageLoader::Clear() {
  for (const auto& [name, target] : targets_) {
    if (target.host != nullptr) allocator_->Free(target.host, target.bytes);
  }
  targets_.clear();
}

absl::StatusOr<LoadedImage> ImageLoader::Finish(const SnapshotMeta& meta) {
  ASSIGN_OR_RETURN(const v1::ModelImage image, ParseRecord(meta));
  ASSIGN_OR_RETURN(ModelSpec spec, LoadSpec(image.spec()));
  RETURN_IF_ERROR(ValidateSpec(spec));
  RETURN_IF_ERROR(CheckSlots(image, spec));
  for (const ArrayInfo& info : meta.arrays) {
    if (info.bytes == 0) Allocate(meta, info);  // the store does not ask for empty ones
  }
  auto version = std::make_shared<ModelVersion>();
  LoadNumbers(image, version.get());
  ASSIGN_OR_RETURN(version->layout, Layout::Make(spec.tensors, spec.fragments));
  ASSIGN_OR_RETURN(version->fragments, LoadFragments(image, *version->layout));
  version->spec = std::make_shared<const ModelSpec>(std::move(spec));
  ASSIGN_OR_RETURN(version->clients, LoadClients(image.clients()));
  ASSIGN_OR_RETURN(version->phi, TakeArray("phi"));
  version->theta = version->phi;
  if (!image.theta_is_phi()) {
    ASSIGN_OR_RETURN(version->theta, TakeArray("theta"));
  }
  RETURN_IF_ERROR(TakeArrays("inner", &version->inner_slots));
  RETURN_IF_ERROR(TakeArrays("outer", &version->outer_slots));
  RETURN_IF_ERROR(TakeArrays("cache", &version->caches));
  ASSIGN_OR_RETURN(version->averages, LoadAverages(image));
  for (size_t i = 0; i < version->averages.size(); ++i) {
    const v1::StoredAverageState& stored = image.averages(static_cast<int>(i));
    RETURN_IF_ERROR(TakeAverage(SlotName(kAverage, i), stored, version->phi, &version->averages[i]));
  }
  ASSIGN_OR_RETURN(version->counters, TakeCounters(version->layout->tensors().size()));
  LoadedImage loaded{.created_wall_nanos = image.created_wall_nanos(), .generation = meta.generation};
  if (image.has_open()) {
    ASSIGN_OR_RETURN(loaded.open, LoadOpen(image.open(), *version->clients));
    for (size_t i = 0; i < loaded.open->state.history.size(); ++i) {
      ASSIGN_OR_RETURN(loaded.open->state.history[i].theta, TakeArray(SlotName(kHistory, i)));
    }
  }
  loaded.version = std::move(version);
  if (!targets_.empty()) return DamagedImage(fmt::format("array '{}' is unknown", targets_.begin()->first));
  return loaded;
}

absl::StatusOr<Array> ImageLoader::TakeArray(const std::string& name) {
  const auto found = targets_.find(name);
  if (found == targets_.end()) return DamagedImage(fmt::format("array '{}' is missing", name));
  Target& target = found->second;
  if (target.host != nullptr) {
    const kernels::Status uploaded = backend_->Upload(target.buffer.get(), 0, target.host, target.bytes);
    allocator_->Free(std::exchange(target.host, nullptr), target.bytes);
    if (uploaded != kernels::Status::kOk) {
      return Error(absl::StatusCode::kInternal, "DEVICE_ERROR",
                   fmt::format("writing to {} failed", backend_->name()));
    }
  }
  Array array = std::move(target.buffer);
  targets_.erase(found);
  return array;
}

absl::Status ImageLoader::TakeArrays(const std::string& prefix, std::vector<Array>* arrays) {
  arrays->resize(kernels::kMaxSlots);
  for (size_t i = 0; i < arrays->size(); ++i) {
    const std::string name = SlotName(prefix.c_str(), i);
    if (!targets_.contains(name)) continue;
    ASSIGN_OR_RETURN((*arrays)[i], TakeArray(name));
  }
  return absl::OkStatus();
}

absl::Status ImageLoader::TakeAverage(const std::string& name, const v1::StoredAverageState& stored,
                                      const Array& phi, AverageState* average) {
  if (stored.iterates() == 0) {
    if (average->samples > 0) {
      ASSIGN_OR_RETURN(average->value, TakeArray(name));
    }
    return absl::OkStatus();
  }
  for (uint32_t j = 0; j + (stored.ends_with_phi() ? 1 : 0) < stored.iterates(); ++j) {
    ASSIGN_OR_RETURN(average->iterates.arrays.emplace_back(), TakeArray(SlotName(name.c_str(), j)));
  }
  if (stored.ends_with_phi()) average->iterates.arrays.push_back(phi);
  for (uint32_t j = 0; j < stored.deltas(); ++j) {
    ASSIGN_OR_RETURN(average->iterates.deltas.emplace_back(),
                     TakeArray(SlotName(DeltaName(name).c_str(), j)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const std::vector<TensorCounters>>> ImageLoader::TakeCounters(size_t tensors) {
  const auto found = targets_.find(kCounters);
  const uint64_t bytes = found == targets_.end() ? 0 : found->second.bytes;
  if (bytes != tensors * sizeof(TensorCounters)) {
    return DamagedImage(fmt::format("the counters have {} bytes, expected {} for {} tensors", bytes,
                                    tensors * sizeof(TensorCounters), tensors));
  }
  auto counters = std::make_shared<std::vector<TensorCounters>>(tensors);
  std::memcpy(counters->data(), found->second.host, bytes);
  allocator_->Free(std::exchange(found->second.host, nullptr), bytes);
  targets_.erase(found);
  return counters;
}

}  // namespace stepback

#include "server/engine/model_image.h"

#include <gtest/gtest.h>

#include "server/core/spec_check.h"
#include "server/engine/stored_clients.h"
#include "server/engine/stored_spec.h"
#include "tests/fakes/device_backend.h"
#include "tests/unit/engine_fixture.h"

namespace stepback {
namespace {

using absl::StatusCode;

// Every field away from its default, and from its neighbour.
ModelSpec FullSpec() {
  ModelSpec spec = GradientSpec("full", {6, 4}, 7, 0.25);
  spec.tensors[0].shape = {2, 3};
  spec.tensors.push_back({.name = "mean", .shape = {}, .dtype = DataType::kF16, .role = Role::kAveraged});
  spec.tensors.push_back({.name = "n", .shape = {2}, .dtype = DataType::kI64, .role = Role::kCarried});
  spec.tensors.push_back({.name = "base", .shape = {5}, .dtype = DataType::kBf16, .role = Role::kFrozen});
  spec.inner = {.name = "adamw", .values = {{"lr", 0.1}, {"amsgrad", 1}}};
  spec.inner.schedules["lr"] = {.name = "exponential", .values = {{"gamma", 0.875}}};
  spec.groups = {{.name = "slow",
                  .tensors = {"t1"},
                  .inner = RuleSpec{.name = "sgd", .values = {{"momentum", 0.5}}},
                  .lr_scale = 0.125}};
  spec.inner_state = InnerState::kPullback;
  spec.rounds = {.policy = RoundPolicy::kBuffered,
                 .quorum = 3,
                 .deadline_seconds = 1.5,
                 .buffer_pushes = 6,
                 .max_staleness = 0,
                 .reduction = Reduction::kOrdered,
                 .accumulate = AccumulateType::kF64,
                 .weighting = Weighting::kSamples,
                 .max_workers = 9,
                 .staleness_exponent = 0.5,
                 .staleness = {.name = "hinge", .values = {{"a", 2}, {"b", 3}}},
                 .grace_seconds = 0.25,
                 .grace_factor = 1.75,
                 .dynamic_local_steps = true,
                 .aggregator = {.name = "krum", .values = {{"f", 2}}},
                 .history_versions = 7};
  spec.sync_period_schedule = {.name = "linear", .values = {{"steps", 11}}};
  spec.durability = Durability::kVolatile;
  spec.snapshot_interval_seconds = 12;
  spec.lease_seconds = 34;
  spec.staging_bytes = 1 << 20;
  spec.max_live_versions = 5;
  spec.description = "a \xff byte that is not UTF-8";
  spec.labels = {{"team", "red"}, {"tier", ""}};
  spec.finish_after_steps = 1000;
  spec.finish_after_samples = 2000;
  spec.clip = {.value = 3, .tensor_norm = 2, .global_norm = 1.5, .contribution_norm = 0.5};
  spec.quarantine = {.after = 0, .seconds = 17};
  spec.averages = {{"ema", {.name = "ema", .values = {{"decay", 0.75}}}},
                   {"late", {.name = "swa", .values = {{"start", 9}, {"period", 2}}}},
                   {"rna", {.name = "rna", .values = {{"memory", 5}}}},
                   {"online", {.name = "online_rna"}}};
  return spec;
}

TEST(StoredSpec, EveryFieldComesBack) {
  const ModelSpec spec = FullSpec();
  v1::StoredSpec stored;
  StoreSpec(spec, &stored);
  v1::StoredSpec parsed;
  ASSERT_TRUE(parsed.ParseFromString(stored.SerializeAsString()));
  const absl::StatusOr<ModelSpec> loaded = LoadSpec(parsed);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(*loaded, spec);
  EXPECT_EQ(*LoadSpec([] {
    v1::StoredSpec plain;
    StoreSpec(DeltaSpec("plain", {1}), &plain);
    return plain;
  }()),
            DeltaSpec("plain", {1}));
}

// Records of versions that had no aggregators.
TEST(StoredSpec, WithoutAnAggregatorHasTheMean) {
  v1::StoredSpec stored;
  StoreSpec(FullSpec(), &stored);
  stored.mutable_rounds()->clear_aggregator();
  EXPECT_EQ(LoadSpec(stored)->rounds.aggregator, RuleSpec{.name = "mean"});
}

TEST(StoredSpec, NumbersThatNoEnumHasAreDamage) {
  const auto damaged = [](const std::function<void(v1::StoredSpec*)>& change) {
    v1::StoredSpec stored;
    StoreSpec(FullSpec(), &stored);
    change(&stored);
    return LoadSpec(stored).status();
  };
  EXPECT_TRUE(damaged([](v1::StoredSpec*) {}).ok());
  const auto damage = Refused(StatusCode::kDataLoss, "IMAGE_DAMAGED");
  EXPECT_THAT(damaged([](v1::StoredSpec* s) { s->set_mode(3); }), damage);
  EXPECT_THAT(damaged([](v1::StoredSpec* s) { s->set_mode(0); }), damage);
  EXPECT_THAT(damaged([](v1::StoredSpec* s) { s->mutable_tensors(0)->set_dtype(11); }), damage);
  EXPECT_THAT(damaged([](v1::StoredSpec* s) { s->mutable_tensors(0)->set_role(5); }), damage);
  EXPECT_THAT(damaged([](v1::StoredSpec* s) { s->mutable_rounds()->set_policy(4); }), damage);
  EXPECT_THAT(damaged([](v1::StoredSpec* s) { s->mutable_rounds()->set_reduction(0xffffffff); }), damage);
  EXPECT_THAT(damaged([](v1::StoredSpec* s) { s->set_durability(9); }), damage);
}

TEST(StoredClients, EveryFieldOfARecordComesBack) {
  ClientRecord record{.epoch = 3, .last_sequence = 12, .pushes = 11};
  record.answers.push_back({.outcome = PushOutcome::kApplied,
                            .version = {2, 9},
                            .sequence = 11,
                            .reason = "2 of 2",
                            .staleness = 4,
                            .settings_version = 5,
                            .inner_steps = 6,
                            .outer_steps = 7,
                            .samples = 8,
                            .finished = true,
                            .loss_scale = 1024});
  const absl::Status refusal = WithRetryAfter(
      Error(StatusCode::kAborted, "STALE_BASE", "too old", {{"base", "1.2"}, {"current", "1.9"}}), 2.5);
  record.answers.push_back({.outcome = PushOutcome::kSkipped, .sequence = 12, .refusal = refusal});
  ClientTable table;
  table.insert_or_assign("worker-0", std::make_shared<const ClientRecord>(record));
  table.insert_or_assign("worker-1", std::make_shared<const ClientRecord>());
  StoredClients stored;
  StoreClients(table, &stored);
  const auto loaded = *LoadClients(stored);
  ASSERT_EQ(loaded->size(), 2u);
  const ClientRecord& back = *loaded->Find("worker-0");
  EXPECT_EQ(back.epoch, 3u);
  EXPECT_EQ(back.last_sequence, 12u);
  EXPECT_EQ(back.pushes, 11u);
  ASSERT_EQ(back.answers.size(), 2u);
  const PushAnswer& applied = back.answers[0];
  EXPECT_EQ(applied.outcome, PushOutcome::kApplied);
  EXPECT_EQ(applied.version, (Version{2, 9}));
  EXPECT_EQ(applied.sequence, 11u);
  EXPECT_EQ(applied.reason, "2 of 2");
  EXPECT_EQ(applied.staleness, 4u);
  EXPECT_EQ(applied.settings_version, 5u);
  EXPECT_EQ(applied.inner_steps, 6u);
  EXPECT_EQ(applied.outer_steps, 7u);
  EXPECT_EQ(applied.samples, 8u);
  EXPECT_TRUE(applied.finished);
  EXPECT_EQ(applied.loss_scale, 1024);
  EXPECT_TRUE(applied.refusal.ok());
  EXPECT_EQ(back.answers[1].refusal, refusal);
}

// A version with every array, on `backend`.
std::shared_ptr<const ModelVersion> FullVersion(kernels::Backend* backend) {
  auto version = std::make_shared<ModelVersion>();
  version->version = {4, 17};
  version->settings_version = 3;
  // Every field at once is no model that could run: some exclude others.
  ModelSpec spec = FullSpec();
  spec.rounds.staleness = {};
  spec.rounds.aggregator = RoundSpec().aggregator;
  spec.rounds.grace_seconds = spec.rounds.grace_factor = 0;
  spec.rounds.dynamic_local_steps = false;
  spec.rounds.history_versions = 0;
  version->spec = std::make_shared<const ModelSpec>(std::move(spec));
  version->layout = *Layout::Make(version->spec->tensors);
  float scale = 1;
  const auto array = [&]() -> Array {
    const std::vector<float> floats = Ramp(version->layout->arena_floats(), scale++);
    std::unique_ptr<kernels::Buffer> buffer = backend->Allocate(floats.size() * sizeof(float));
    backend->Upload(buffer.get(), 0, reinterpret_cast<const std::byte*>(floats.data()), buffer->bytes());
    return buffer;
  };
  version->phi = array();
  version->theta = array();
  version->inner_slots = {array(), array(), array(), nullptr};
  version->outer_slots = {nullptr, nullptr, nullptr, nullptr};
  version->caches = {array(), nullptr, nullptr, nullptr};
  version->averages = {
      {.value = array(), .samples = 5, .carry = {0.25, 1, 0.5, 1}}, {}, {.samples = 7}, {.samples = 2}};
  version->averages[2].iterates = {.arrays = {array(), array(), version->phi}, .products = {1, 0.5, 0.5, 3}};
  version->averages[3].iterates = {
      .arrays = {array(), array()}, .deltas = {array(), array()}, .products = {1, 2, 2, 5}};
  auto counters = std::make_shared<std::vector<TensorCounters>>(version->layout->tensors().size());
  for (size_t i = 0; i < counters->size(); ++i) {
    (*counters)[i] = {.inner_steps = int64_t(i) + 1,
                      .outer_steps = int64_t(i) + 2,
                      .inner_carry = {0.1, 0.2, 0.3, 0.4},
                      .outer_carry = {0.5, 0.6, 0.7, 1.0 / double(i + 1)}};
  }
  version->counters = counters;
  version->clients = std::make_shared<const ClientTable>();
  version->sync_phase = 6;
  version->inner_steps = 20;
  version->outer_steps = 2;
  version->samples = 99;
  version->finished = true;
  version->update_norm = 1.5;
  version->weight_norm = 2.5;
  version->distance = 3.5;
  return version;
}

// The snapshot as a store would give it back.
SnapshotMeta Stored(const ModelVersion& version, const std::vector<ArrayView>& arrays) {
  SnapshotMeta meta{.generation = 1,
                    .term = version.version.term,
                    .counter = version.version.counter,
                    .state = ImageRecord(version, 1234)};
  for (const ArrayView& array : arrays) meta.arrays.push_back({array.name, array.bytes});
  return meta;
}

void Fill(const ArrayView& view, std::byte* to) {
  if (view.data != nullptr) {
    std::memcpy(to, view.data, view.bytes);
    return;
  }
  for (uint64_t at = 0; at < view.bytes; at += 100) {
    const size_t take = std::min<uint64_t>(100, view.bytes - at);
    ASSERT_TRUE(view.read(at, {to + at, take}).ok());
  }
}

TEST(ModelImage, AVersionComesBackBitForBitOnHostAndDevice) {
  BufferPool pool;
  const auto host = kernels::MakeCpuBackend("generic", &pool);
  DeviceBackend device(host.get());
  for (kernels::Backend* backend : {static_cast<kernels::Backend*>(&device), host.get()}) {
    const auto version = FullVersion(backend);
    const std::vector<ArrayView> arrays = ImageArrays(*version, backend);
    const SnapshotMeta meta = Stored(*version, arrays);
    ImageLoader loader(backend, &pool);
    const ArrayAllocator allocate = loader.allocator();
    for (size_t i = 0; i < arrays.size(); ++i) Fill(arrays[i], allocate(meta, meta.arrays[i]));
    const absl::StatusOr<LoadedImage> loaded = loader.Finish(meta);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(loaded->created_wall_nanos, 1234);
    const ModelVersion& back = *loaded->version;
    EXPECT_EQ(*StateHash(back, backend), *StateHash(*version, backend));
    EXPECT_EQ(*back.spec, *version->spec);
    EXPECT_EQ(back.layout->fingerprint(), version->layout->fingerprint());
    EXPECT_EQ(back.version, version->version);
    EXPECT_EQ(back.settings_version, 3u);
    EXPECT_EQ(back.sync_phase, 6u);
    EXPECT_EQ(back.inner_steps, 20u);
    EXPECT_EQ(back.outer_steps, 2u);
    EXPECT_EQ(back.samples, 99u);
    EXPECT_TRUE(back.finished);
    EXPECT_EQ(back.update_norm, 1.5);
    EXPECT_EQ(back.weight_norm, 2.5);
    EXPECT_EQ(back.distance, 3.5);
    EXPECT_NE(back.theta, back.phi);
    ASSERT_EQ(back.averages.size(), 4u);
    EXPECT_EQ(back.averages[3].iterates.deltas.size(), 2u);
    EXPECT_EQ(back.averages[0].samples, 5);
    EXPECT_EQ(back.averages[0].carry[2], 0.5);
    EXPECT_EQ(back.averages[1].value, nullptr);
    EXPECT_EQ(back.averages[2].iterates.arrays.size(), 3u);
    EXPECT_EQ(back.averages[2].iterates.arrays[2], back.phi) << "stored once";
    EXPECT_EQ(back.averages[2].iterates.products, version->averages[2].iterates.products);
    EXPECT_EQ(std::memcmp(back.counters->data(), version->counters->data(),
                          back.counters->size() * sizeof(TensorCounters)),
              0);
  }
}

TEST(ModelImage, SharedWeightsStaySharedAndAreStoredOnce) {
  BufferPool pool;
  const auto backend = kernels::MakeCpuBackend("generic", &pool);
  ModelVersion version = *FullVersion(backend.get());
  version.theta = version.phi;
  const std::vector<ArrayView> arrays = ImageArrays(version, backend.get());
  for (const ArrayView& array : arrays) EXPECT_NE(array.name, "theta");
  const SnapshotMeta meta = Stored(version, arrays);
  ImageLoader loader(backend.get(), &pool);
  for (size_t i = 0; i < arrays.size(); ++i) Fill(arrays[i], loader.allocator()(meta, meta.arrays[i]));
  const absl::StatusOr<LoadedImage> loaded = loader.Finish(meta);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->version->theta, loaded->version->phi);
}

TEST(ModelImage, WhatDoesNotFitTogetherIsRefusedAndItsMemoryGivenBack) {
  BufferPool pool;
  const auto backend = kernels::MakeCpuBackend("generic", &pool);
  const auto version = FullVersion(backend.get());
  const std::vector<ArrayView> arrays = ImageArrays(*version, backend.get());
  const uint64_t used = pool.stats().in_use_bytes;
  const auto load = [&](const std::function<void(SnapshotMeta*)>& change) {
    SnapshotMeta meta = Stored(*version, arrays);
    change(&meta);
    ImageLoader loader(backend.get(), &pool);
    for (const ArrayInfo& info : meta.arrays) {
      std::byte* const to = loader.allocator()(meta, info);
      if (to != nullptr) std::memset(to, 0, info.bytes);
    }
    return loader.Finish(meta).status();
  };
  const auto edit = [](SnapshotMeta* meta, const std::function<void(v1::ModelImage*)>& change) {
    v1::ModelImage image;
    ASSERT_TRUE(image.ParseFromString(meta->state));
    change(&image);
    meta->state = image.SerializeAsString();
  };
  EXPECT_TRUE(load([](SnapshotMeta*) {}).ok());
  const auto damage = Refused(StatusCode::kDataLoss, "IMAGE_DAMAGED");
  EXPECT_THAT(load([](SnapshotMeta* m) { m->state = "\xff\xff"; }), damage);
  EXPECT_THAT(load([](SnapshotMeta* m) { m->state.clear(); }), damage);
  EXPECT_THAT(load([](SnapshotMeta* m) { m->counter += 1; }), damage);
  EXPECT_THAT(load([](SnapshotMeta* m) { m->arrays.erase(m->arrays.begin()); }), damage) << "no phi";
  EXPECT_THAT(load([](SnapshotMeta* m) { m->arrays.pop_back(); }), damage) << "no counters";
  EXPECT_THAT(load([](SnapshotMeta* m) { m->arrays.back().bytes -= 80; }), damage);
  EXPECT_THAT(load([](SnapshotMeta* m) { m->arrays.push_back({"moon", 8}); }), damage);
  EXPECT_THAT(load([&](SnapshotMeta* m) { edit(m, [](v1::ModelImage* i) { i->set_format(4); }); }),
              Refused(StatusCode::kFailedPrecondition, "NEWER_FORMAT"));
  EXPECT_THAT(load([&](SnapshotMeta* m) {
                edit(m, [](v1::ModelImage* i) { i->mutable_slots(0)->add_names("new"); });
              }),
              Refused(StatusCode::kFailedPrecondition, "NEWER_FORMAT"));
  EXPECT_THAT(load([&](SnapshotMeta* m) {
                edit(m, [](v1::ModelImage* i) { i->mutable_clients()->Add()->add_answers(); });
              }),
              damage);
  EXPECT_THAT(load([&](SnapshotMeta* m) {
                edit(m, [](v1::ModelImage* i) { i->mutable_averages(0)->add_carry(1); });
              }),
              damage);
  EXPECT_THAT(load([&](SnapshotMeta* m) {
                edit(m, [](v1::ModelImage* i) { i->mutable_averages(1)->set_samples(1); });
              }),
              damage)
      << "its array is missing";
  EXPECT_THAT(load([&](SnapshotMeta* m) {
                edit(m, [](v1::ModelImage* i) { i->mutable_averages(0)->set_samples(0); });
              }),
              damage)
      << "an array that belongs to nobody";
  EXPECT_THAT(load([&](SnapshotMeta* m) {
                edit(m, [](v1::ModelImage* i) { i->mutable_averages(2)->set_iterates(0xffffffff); });
              }),
              damage);
  EXPECT_THAT(load([&](SnapshotMeta* m) {
                edit(m, [](v1::ModelImage* i) {
                  for (v1::StoredSlots& slots : *i->mutable_slots()) {
                    if (slots.rule() == "ema") slots.set_rule("an_average_of_tomorrow");
                  }
                });
              }),
              Refused(StatusCode::kFailedPrecondition, "NEWER_FORMAT"));
  EXPECT_EQ(load([&](SnapshotMeta* m) {
              edit(m, [](v1::ModelImage* i) { i->mutable_spec()->set_lease_seconds(-1); });
            }).code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(pool.stats().in_use_bytes, used);
}

}  // namespace
}  // namespace stepback

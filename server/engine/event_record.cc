#include "server/engine/event_record.h"

#include <algorithm>

#include "kernels/rule_info.h"
#include "server/core/merge_record.h"
#include "server/engine/stored_spec.h"
#include "stepback/v1/events.pb.h"

namespace stepback {
namespace {

constexpr size_t kMembersStored = 16'384;  // well within kEventBodyBytesMax with ids of usual length

void StoreHead(const LoggedEvent& logged, v1::EventRecord* record) {
  record->set_wall_nanos(logged.wall_nanos);
  record->set_term(logged.version.term);
  record->set_counter(logged.version.counter);
  record->set_settings_version(logged.settings_version);
}

void StoreMember(const MergeRecord::Member& member, v1::MergeEvent::Member* stored) {
  stored->set_client_id(member.client_id);
  stored->set_epoch(member.epoch);
  stored->set_sequence(member.sequence);
  stored->set_base_term(member.base.term);
  stored->set_base_counter(member.base.counter);
  stored->set_staleness(member.staleness);
  stored->set_samples(member.samples);
  stored->set_local_steps(member.local_steps);
  stored->set_loss_scale(member.loss_scale);
  stored->set_share(member.weight.share);
  stored->set_numerator(member.weight.numerator);
  stored->set_clip(member.weight.clip);
  stored->set_mixing(member.weight.mixing);
  stored->set_taken(member.taken);
  stored->set_skipped(member.skipped);
}

void StoreRates(const RuleRates& rates, v1::MergeEvent::Rates* stored) {
  stored->set_rule(std::string(rates.rule->name));
  stored->set_outer(rates.rule->kind == kernels::RuleKind::kOuter);
  for (size_t i = 0; i < rates.values.size(); ++i) {
    v1::StoredNumber* const value = stored->add_values();
    value->set_name(std::string(rates.rule->hypers[i].name));
    value->set_value(rates.values[i]);
  }
}

void StoreProgress(const MergeRecord& merge, v1::MergeEvent* stored) {
  const RoundProgress& progress = merge.progress;
  stored->set_awaited(progress.awaited);
  if (progress.first_at) stored->set_since_first_nanos((merge.decided_at - *progress.first_at).count());
  if (progress.quorum_at) stored->set_since_quorum_nanos((merge.decided_at - *progress.quorum_at).count());
  if (progress.grace) stored->set_grace_nanos(progress.grace->count());
}

void StoreMerge(const MergeRecord& merge, v1::MergeEvent* stored) {
  stored->set_before_term(merge.before.term);
  stored->set_before_counter(merge.before.counter);
  if (merge.fragment) stored->set_fragment(*merge.fragment);
  const size_t members = std::min(merge.members.size(), kMembersStored);
  for (size_t i = 0; i < members; ++i) StoreMember(merge.members[i], stored->add_members());
  stored->set_members_omitted(merge.members.size() - members);
  stored->set_outer_step(merge.outer_step);
  stored->set_inner_steps(merge.inner_steps);
  stored->set_outer_steps(merge.outer_steps);
  stored->set_samples(merge.samples);
  stored->set_update_norm(merge.update_norm);
  stored->set_weight_norm(merge.weight_norm);
  stored->set_distance(merge.distance);
  stored->set_merge_share(merge.merge_share);
  if (merge.rates != nullptr) {
    for (const RuleRates& rates : *merge.rates) StoreRates(rates, stored->add_rates());
  }
  StoreProgress(merge, stored);
}

}  // namespace

// A merge's fields are its words; here it is stored as numbers.
void StoreEvent(const LoggedEvent& logged, v1::EventRecord* record) {
  StoreHead(logged, record);
  const Effects::Event& event = logged.event;
  record->set_name(event.name);
  record->set_reason(event.reason);
  if (event.merge != nullptr) {
    StoreMerge(*event.merge, record->mutable_merge());
    // Of several in one call, each with the version that it made.
    record->set_term(event.merge->after.term);
    record->set_counter(event.merge->after.counter);
  }
  for (const auto& [name, value] : event.fields) {
    if (event.merge != nullptr && name != "reason" && name != "aggregator") continue;
    v1::StoredLabel* const field = record->add_fields();
    field->set_name(name);
    field->set_value(value);
  }
}

void StoreSettings(const LoggedEvent& logged, v1::EventRecord* record) {
  StoreHead(logged, record);
  record->set_name("settings");
  v1::StoredSpec* const stored = record->mutable_settings();
  StoreSpec(*logged.spec, stored);
  stored->clear_tensors();
  for (v1::StoredGroup& group : *stored->mutable_groups()) group.clear_tensors();
  if (!stored->has_fragments()) return;
  for (v1::StoredFragments::Part& part : *stored->mutable_fragments()->mutable_parts()) part.clear_tensors();
}

}  // namespace stepback

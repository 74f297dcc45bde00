#include "server/core/merge_record.h"

namespace stepback {

MergeRecord::Member RecordOf(const RoundMember& member) {
  return {.client_id = member.client_id,
          .epoch = member.epoch,
          .sequence = member.sequence,
          .base = member.base,
          .weight = member.weight,
          .loss_scale = member.loss_scale,
          .staleness = member.staleness,
          .samples = member.samples,
          .local_steps = member.local_steps,
          .skipped = member.skipped,
          .taken = member.taken};
}

}  // namespace stepback

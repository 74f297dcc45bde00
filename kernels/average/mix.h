// The one step that the running averages share: a sample moves the average a share of the way towards it.
// Each rule says in Prepare which share that is.
#pragma once

#include "kernels/rule.h"

namespace stepback::kernels {

struct Share {
  float of_sample;
};

// average + share (x - average); a share of 1 is a copy, so that the first sample is served bit for bit.
PS_HD void MixIn(const Share& share, float x, float& average) {
  const float mixed = Lerp(average, x, share.of_sample);
  average = share.of_sample == 1.0f ? x : mixed;
}

}  // namespace stepback::kernels

// The list of aggregators: THE registration point. An aggregator is one header under aggregate/, its include
// and its name here, and its golden vectors under tests/golden; everything else (checks, the reduction on
// every back-end, ListRules, conformance) follows the list.
#pragma once

#include "kernels/aggregate/bulyan.h"
#include "kernels/aggregate/coordinate_median.h"
#include "kernels/aggregate/krum.h"
#include "kernels/aggregate/mean.h"
#include "kernels/aggregate/median_norm_clip.h"
#include "kernels/aggregate/multi_krum.h"
#include "kernels/aggregate/trimmed_mean.h"
#include "kernels/rule.h"

namespace stepback::kernels {

// clang-format off
using AggregatorList = RuleList<
    Bulyan,
    CoordinateMedian,
    Krum,
    Mean,
    MedianNormClip,
    MultiKrum,
    TrimmedMean>;
// clang-format on

}  // namespace stepback::kernels

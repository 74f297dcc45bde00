// The two lists of rules: THE registration point. A rule is one header, its include and its name here, and
// its golden vectors under tests/golden; everything else (loops, snapshots, ListRules, conformance,
// benchmarks) follows the list.
#pragma once

#include "kernels/inner/adafactor.h"
#include "kernels/inner/adam.h"
#include "kernels/inner/adamw.h"
#include "kernels/inner/lamb.h"
#include "kernels/inner/lars.h"
#include "kernels/inner/muon.h"
#include "kernels/inner/sgd.h"
#include "kernels/outer/average.h"
#include "kernels/outer/bmuf_cbm.h"
#include "kernels/outer/heavy_ball.h"
#include "kernels/outer/lookahead.h"
#include "kernels/outer/nesterov.h"
#include "kernels/rule.h"

namespace stepback::kernels {

// clang-format off
using InnerRuleList = RuleList<
    Adafactor,
    Adam,
    AdamW,
    Lamb,
    Lars,
    Muon,
    Sgd>;

using OuterRuleList = RuleList<
    Average,
    BmufCbm,
    HeavyBall,
    Lookahead,
    Nesterov>;
// clang-format on

}  // namespace stepback::kernels

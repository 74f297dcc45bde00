// The three lists of rules: THE registration point. A rule is one header, its include and its name here, and
// its golden vectors under tests/golden; everything else (loops, snapshots, ListRules, conformance,
// benchmarks) follows the list.
#pragma once

#include "kernels/average/ema.h"
#include "kernels/average/online_rna.h"
#include "kernels/average/polyak.h"
#include "kernels/average/rna.h"
#include "kernels/average/swa.h"
#include "kernels/inner/adadelta.h"
#include "kernels/inner/adafactor.h"
#include "kernels/inner/adagrad.h"
#include "kernels/inner/adam.h"
#include "kernels/inner/adamw.h"
#include "kernels/inner/adan.h"
#include "kernels/inner/asgd.h"
#include "kernels/inner/gpa.h"
#include "kernels/inner/lamb.h"
#include "kernels/inner/lars.h"
#include "kernels/inner/lion.h"
#include "kernels/inner/muon.h"
#include "kernels/inner/nadam.h"
#include "kernels/inner/radam.h"
#include "kernels/inner/rmsprop.h"
#include "kernels/inner/schedule_free_adamw.h"
#include "kernels/inner/schedule_free_sgd.h"
#include "kernels/inner/sgd.h"
#include "kernels/outer/adaptive_lookahead.h"
#include "kernels/outer/average.h"
#include "kernels/outer/bmuf_cbm.h"
#include "kernels/outer/delayed_nesterov.h"
#include "kernels/outer/fed_adagrad.h"
#include "kernels/outer/fed_adam.h"
#include "kernels/outer/fed_async.h"
#include "kernels/outer/fed_yogi.h"
#include "kernels/outer/heavy_ball.h"
#include "kernels/outer/lookahead.h"
#include "kernels/outer/nesterov.h"
#include "kernels/outer/slowmo.h"
#include "kernels/rule.h"

namespace stepback::kernels {

// clang-format off
using InnerRuleList = RuleList<
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    AdamW,
    Adan,
    Asgd,
    Gpa,
    Lamb,
    Lars,
    Lion,
    Muon,
    NAdam,
    RAdam,
    RmsProp,
    ScheduleFreeAdamW,
    ScheduleFreeSgd,
    Sgd>;

using OuterRuleList = RuleList<
    AdaptiveLookahead,
    Average,
    BmufCbm,
    DelayedNesterov,
    FedAdagrad,
    FedAdam,
    FedAsync,
    FedYogi,
    HeavyBall,
    Lookahead,
    Nesterov,
    SlowMo>;

using AverageRuleList = RuleList<
    Ema,
    Polyak,
    Swa>;

// Averages without a step: combinations of past slow weights, with weights that the host solves for.
using ExtrapolationRuleList = RuleList<
    OnlineRna,
    Rna>;
// clang-format on

}  // namespace stepback::kernels

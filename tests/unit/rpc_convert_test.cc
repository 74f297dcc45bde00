#include <cmath>
#include <limits>
#include <string>

#include "gtest/gtest.h"
#include "kernels/aggregator_info.h"
#include "server/base/errors.h"
#include "server/core/presets.h"
#include "server/core/schedule.h"
#include "server/core/spec_check.h"
#include "server/core/staleness_weight.h"
#include "server/rpc/names.h"
#include "server/rpc/reply_convert.h"
#include "server/rpc/request_convert.h"
#include "server/rpc/spec_convert.h"

namespace stepback {
namespace {

v1::ModelSpec SmallSpec() {
  v1::ModelSpec proto;
  proto.set_name("m");
  v1::Tensor* const tensor = proto.add_tensors();
  tensor->set_name("w");
  tensor->add_shape(4);
  tensor->set_dtype(v1::DATA_TYPE_F32);
  return proto;
}

v1::ModelSpec FullSpec() {
  v1::ModelSpec proto = SmallSpec();
  proto.mutable_tensors(0)->set_role(v1::TENSOR_ROLE_TRAINED);
  v1::Tensor* const carried = proto.add_tensors();
  carried->set_name("steps");
  carried->set_dtype(v1::DATA_TYPE_I64);
  carried->set_role(v1::TENSOR_ROLE_CARRIED);
  v1::TensorGroup* const group = proto.add_groups();
  group->set_name("decay");
  group->add_tensors("w");
  group->mutable_inner()->set_name("adamw");
  (*group->mutable_inner()->mutable_values())["lr"] = 0.01;
  group->set_lr_scale(2);
  proto.set_mode(v1::TRAINING_MODE_GRADIENT);
  proto.mutable_inner()->set_name("sgd");
  (*proto.mutable_inner()->mutable_values())["momentum"] = 0.9;
  v1::Schedule& schedule = (*proto.mutable_inner()->mutable_schedules())["lr"];
  schedule.set_name("cosine");
  (*schedule.mutable_values())["steps"] = 100;
  proto.mutable_outer()->set_name("lookahead");
  proto.set_sync_period(7);
  proto.set_inner_state(v1::INNER_STATE_POLICY_RESET);
  v1::RoundSpec* const rounds = proto.mutable_rounds();
  rounds->set_policy(v1::ROUND_POLICY_BUFFERED);
  rounds->set_quorum(2);
  rounds->set_deadline_seconds(1.5);
  rounds->set_buffer_pushes(3);
  rounds->set_max_staleness(0);
  rounds->set_reduction(v1::REDUCTION_ORDERED);
  rounds->set_accumulate(v1::ACCUMULATE_TYPE_F64);
  rounds->set_weighting(v1::WEIGHTING_SAMPLES);
  rounds->set_max_workers(9);
  rounds->set_staleness_exponent(0.5);
  rounds->mutable_staleness()->set_name("hinge");
  (*rounds->mutable_staleness()->mutable_values())["a"] = 3;
  rounds->set_grace_seconds(0.25);
  rounds->set_grace_factor(2.5);
  rounds->set_dynamic_local_steps(true);
  rounds->set_history_versions(5);
  rounds->mutable_aggregator()->set_name("krum");
  (*rounds->mutable_aggregator()->mutable_values())["f"] = 2;
  proto.set_durability(v1::DURABILITY_VOLATILE);
  proto.set_expected_push_bytes_per_s(1.5e6);
  proto.set_snapshot_interval_seconds(12);
  proto.set_lease_seconds(34);
  proto.set_staging_bytes(1 << 20);
  proto.set_max_live_versions(5);
  proto.set_description("words");
  (*proto.mutable_labels())["team"] = "a";
  proto.set_finish_after_steps(10);
  proto.set_finish_after_samples(20);
  proto.mutable_sync_period_schedule()->set_name("linear");
  (*proto.mutable_sync_period_schedule()->mutable_values())["start_factor"] = 0.5;
  v1::AverageSpec* const average = proto.add_averages();
  average->set_name("smooth");
  average->mutable_rule()->set_name("ema");
  (*average->mutable_rule()->mutable_values())["decay"] = 0.75;
  proto.mutable_clip()->set_value(3);
  proto.mutable_clip()->set_tensor_norm(2);
  proto.mutable_clip()->set_global_norm(1.5);
  proto.mutable_clip()->set_contribution_norm(0.75);
  proto.mutable_quarantine()->set_after(0);
  proto.mutable_quarantine()->set_seconds(17);
  v1::FragmentSpec::Part* const part = proto.mutable_fragments()->add_parts();
  part->add_tensors("w");
  part->set_offset(3);
  proto.mutable_fragments()->set_overlap_steps(2);
  proto.mutable_fragments()->set_mixing(0.25);
  return proto;
}

TEST(SpecConvert, BringsEveryFieldThereAndBack) {
  const v1::ModelSpec proto = FullSpec();
  const v1::ModelSpec back = SpecToProto(SpecFromProto(proto, {}), true);
  EXPECT_EQ(back.DebugString(), proto.DebugString());
}

TEST(SpecConvert, CoversEveryFieldOfTheProto) {
  const v1::ModelSpec proto = FullSpec();
  for (int i = 0; i < v1::ModelSpec::descriptor()->field_count(); ++i) {
    const auto* field = v1::ModelSpec::descriptor()->field(i);
    const bool set = field->is_repeated() ? proto.GetReflection()->FieldSize(proto, field) > 0
                                          : proto.GetReflection()->HasField(proto, field);
    EXPECT_TRUE(set) << "the round trip above does not see " << field->name();
  }
}

TEST(SpecConvert, FillsInTheDocumentedDefaults) {
  const ModelSpec spec = SpecFromProto(SmallSpec(), {.lease_seconds = 45});
  EXPECT_EQ(spec.mode, Mode::kDelta);
  EXPECT_EQ(spec.tensors[0].role, Role::kTrained);
  EXPECT_EQ(spec.outer.name, "nesterov");
  EXPECT_EQ(spec.rounds.policy, RoundPolicy::kSync);
  EXPECT_EQ(spec.rounds.quorum, 1u);
  EXPECT_EQ(spec.rounds.buffer_pushes, 10u);
  EXPECT_EQ(spec.rounds.max_workers, 64u);
  EXPECT_FALSE(spec.rounds.max_staleness.has_value());
  EXPECT_EQ(spec.durability, Durability::kRound);
  EXPECT_EQ(spec.lease_seconds, 45);
  EXPECT_EQ(spec.max_live_versions, 4u);
  EXPECT_TRUE(ValidateSpec(spec).ok()) << ValidateSpec(spec);

  v1::ModelSpec gradient = SmallSpec();
  gradient.set_mode(v1::TRAINING_MODE_GRADIENT);
  const ModelSpec filled = SpecFromProto(gradient, {});
  EXPECT_EQ(filled.inner.name, "sgd");
  EXPECT_EQ(filled.outer.name, "lookahead");
  EXPECT_EQ(filled.sync_period, 5u);
}

TEST(SpecConvert, AnAggregatorMakesOrderedTheDefaultReduction) {
  v1::ModelSpec proto = SmallSpec();
  EXPECT_EQ(SpecFromProto(proto, {}).rounds.aggregator.name, "mean");
  proto.mutable_rounds()->mutable_aggregator()->set_name("mean");
  EXPECT_EQ(SpecFromProto(proto, {}).rounds.reduction, Reduction::kRunning);
  proto.mutable_rounds()->mutable_aggregator()->set_name("coordinate_median");
  EXPECT_EQ(SpecFromProto(proto, {}).rounds.reduction, Reduction::kOrdered);
  EXPECT_TRUE(ValidateSpec(SpecFromProto(proto, {})).ok());
  proto.mutable_rounds()->set_reduction(v1::REDUCTION_RUNNING);
  EXPECT_FALSE(ValidateSpec(SpecFromProto(proto, {})).ok()) << "what was asked for is not overruled";
}

TEST(SpecConvert, HandsUnknownEnumValuesToTheCheckThatRefusesThem) {
  for (const int number : {-1, 99, 255, 256, 300, std::numeric_limits<int>::max()}) {
    v1::ModelSpec mode = SmallSpec(), role = SmallSpec(), dtype = SmallSpec(), policy = SmallSpec(),
                  durable = SmallSpec();
    mode.set_mode(static_cast<v1::TrainingMode>(number));
    role.mutable_tensors(0)->set_role(static_cast<v1::TensorRole>(number));
    dtype.mutable_tensors(0)->set_dtype(static_cast<v1::DataType>(number));
    policy.mutable_rounds()->set_policy(static_cast<v1::RoundPolicy>(number));
    durable.set_durability(static_cast<v1::Durability>(number));
    for (const v1::ModelSpec& proto : {mode, role, dtype, policy, durable}) {
      EXPECT_EQ(ValidateSpec(SpecFromProto(proto, {})).code(), absl::StatusCode::kInvalidArgument) << number;
    }
  }
  v1::ModelSpec untyped = SmallSpec();
  untyped.mutable_tensors(0)->clear_dtype();
  EXPECT_EQ(ReasonOf(ValidateSpec(SpecFromProto(untyped, {}))), "INVALID_SPEC");
}

ModelVersion VersionOf(const v1::ModelSpec& spec, uint64_t outer_steps) {
  ModelVersion version{.settings_version = 3};
  version.spec = std::make_shared<const ModelSpec>(SpecFromProto(spec, {}));
  version.outer_steps = outer_steps;
  return version;
}

TEST(SettingsToProto, SaysThePeriodInForce) {
  EXPECT_EQ(SettingsToProto(VersionOf(FullSpec(), 0)).sync_period(), 4u) << "7 x 0.5, halves away from 0";
  EXPECT_EQ(SettingsToProto(VersionOf(FullSpec(), 5)).sync_period(), 7u);
}

TEST(SettingsToProto, LeavesTensorNamesOut) {
  const v1::Settings settings = SettingsToProto(VersionOf(FullSpec(), 0));
  EXPECT_EQ(settings.settings_version(), 3u);
  EXPECT_EQ(settings.groups(0).lr_scale(), 2);
  EXPECT_EQ(settings.clip().global_norm(), 1.5);
  EXPECT_EQ(settings.groups(0).tensors_size(), 0);
}

TEST(SettingsToProto, SaysWhatPushesHold) {
  const auto kind_of = [](v1::TrainingMode mode, const char* outer) {
    v1::ModelSpec proto;
    proto.set_mode(mode);
    proto.mutable_outer()->set_name(outer);
    return SettingsToProto(VersionOf(proto, 0)).push_kind();
  };
  EXPECT_EQ(kind_of(v1::TRAINING_MODE_GRADIENT, "lookahead"), v1::PUSH_KIND_GRADIENT);
  EXPECT_EQ(kind_of(v1::TRAINING_MODE_DELTA, "nesterov"), v1::PUSH_KIND_DELTA);
  EXPECT_EQ(kind_of(v1::TRAINING_MODE_DELTA, "fed_async"), v1::PUSH_KIND_WEIGHTS);
}

v1::PushHeader SmallPush() {
  v1::PushHeader header;
  header.set_model("m");
  header.set_client_id("worker-0");
  header.set_epoch(1);
  header.set_sequence(1);
  header.set_kind(v1::PUSH_KIND_DELTA);
  header.set_total_bytes(16);
  return header;
}

TEST(UploadFromProto, FillsInTheDocumentedDefaults) {
  const auto request = UploadFromProto(SmallPush());
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->header.samples, 1u);
  EXPECT_EQ(request->header.local_steps, 1u);
  EXPECT_EQ(request->header.loss_scale, 1.0);
  EXPECT_EQ(request->part_count, 1u);
  EXPECT_EQ(kernels::Codecs()[request->header.codec].name, "f32");
}

TEST(UploadFromProto, RefusesWhatNoModelCouldTake) {
  const auto refused = [](auto change) {
    v1::PushHeader header = SmallPush();
    change(&header);
    return ReasonOf(UploadFromProto(header).status());
  };
  EXPECT_EQ(refused([](auto* h) { h->set_client_id(""); }), "INVALID_NAME");
  EXPECT_EQ(refused([](auto* h) { h->set_client_id("a/b"); }), "INVALID_NAME");
  EXPECT_EQ(refused([](auto* h) { h->set_kind(v1::PUSH_KIND_UNSPECIFIED); }), "INVALID_FIELD");
  EXPECT_EQ(refused([](auto* h) { h->set_kind(static_cast<v1::PushKind>(77)); }), "INVALID_FIELD");
  EXPECT_EQ(refused([](auto* h) { h->set_codec("f7"); }), "CODEC_UNKNOWN");
  EXPECT_EQ(refused([](auto* h) { h->set_fingerprint("short"); }), "INVALID_FIELD");
  EXPECT_EQ(refused([](auto* h) {
              for (int i = 0; i < 65'537; ++i) h->add_ranges();
            }),
            "INVALID_FIELD");
}

TEST(PullFromProto, BoundsTheChunkSize) {
  v1::PullRequest request;
  EXPECT_EQ(PullFromProto(request)->chunk_bytes, 1u << 20);
  request.set_chunk_bytes(4095);
  EXPECT_EQ(ReasonOf(PullFromProto(request).status()), "INVALID_FIELD");
  request.set_chunk_bytes((4 << 20) + 1);
  EXPECT_EQ(ReasonOf(PullFromProto(request).status()), "INVALID_FIELD");
  request.set_chunk_bytes(4096);
  request.set_view("sideways");
  EXPECT_EQ(ReasonOf(PullFromProto(request).status()), "VIEW_UNKNOWN");
  request.set_view("train");
  EXPECT_EQ(PullFromProto(request)->view, View::kTrain);
  request.set_view("average:a.b:c");  // whether there is such a one, the model knows
  EXPECT_EQ(PullFromProto(request)->view, View(View::kAverage, "a.b:c"));
}

TEST(PullFromProto, TakesADifferenceWithItsFullForm) {
  v1::PullRequest request;
  request.mutable_difference()->set_form("lossless_bf16");
  EXPECT_EQ(PullFromProto(request)->codec, kernels::FindCodec("bf16")->id);
  EXPECT_EQ(PullFromProto(request)->difference->codec, kLosslessBf16);
  request.set_codec("f32");
  EXPECT_EQ(FieldOf(PullFromProto(request).status()), "codec");
  request.set_codec("bf16");
  request.mutable_difference()->mutable_base()->set_term(2);
  request.mutable_difference()->set_chain(7);
  EXPECT_EQ(PullFromProto(request)->difference->base, (Version{2, 0}));
  EXPECT_EQ(PullFromProto(request)->difference->chain, 7u);
  request.mutable_difference()->set_form("topk_2bit");
  EXPECT_EQ(FieldOf(PullFromProto(request).status()), "codec") << "its full form is f32";
  request.clear_codec();
  EXPECT_EQ(PullFromProto(request)->codec, kernels::FindCodec("f32")->id);
  request.add_ranges()->set_count(1);
  EXPECT_EQ(FieldOf(PullFromProto(request).status()), "ranges");
  request.clear_ranges();
  for (const char* form : {"", "f32", "zip"}) {
    request.mutable_difference()->set_form(form);
    EXPECT_EQ(FieldOf(PullFromProto(request).status()), "difference.form") << form;
  }
}

TEST(DifferenceToProto, LeavesTheBaseOutOfAFullForm) {
  const v1::Difference full = DifferenceToProto({.codec = kLosslessBf16, .chain = 3});
  EXPECT_EQ(full.form(), "lossless_bf16");
  EXPECT_FALSE(full.has_base());
  EXPECT_EQ(full.chain(), 3u);
  const v1::Difference difference = DifferenceToProto({.codec = 1, .base = {1, 4}, .chain = 3, .count = 2});
  EXPECT_EQ(difference.form(), "bf16");
  EXPECT_EQ(difference.base().counter(), 4u);
  EXPECT_EQ(difference.count(), 2u);
}

TEST(OpenFromProto, SpeaksOneVersionOfTheProtocol) {
  v1::OpenSessionRequest request;
  request.set_client_id("worker-0");
  request.set_protocol_version(1);
  ASSERT_TRUE(OpenFromProto(request).ok());
  EXPECT_EQ(OpenFromProto(request)->role, SessionRole::kTrainer);
  request.set_protocol_version(2);
  EXPECT_EQ(ReasonOf(OpenFromProto(request).status()), "PROTOCOL_VERSION");
}

TEST(Names, FollowTheDocumentedSyntax) {
  EXPECT_TRUE(CheckModelName("resnet-50.v2_final", "model").ok());
  EXPECT_TRUE(CheckModelName(std::string(128, 'a'), "model").ok());
  for (const std::string& name : {std::string(), std::string(129, 'a'), std::string("-a"), std::string("a b"),
                                  std::string("../etc"), std::string("a\0b", 3), std::string("\xc3\xa4")}) {
    const absl::Status status = CheckModelName(name, "spec.name");
    EXPECT_EQ(ReasonOf(status), "INVALID_NAME") << name;
    EXPECT_EQ(FieldOf(status), "spec.name");
  }
  EXPECT_TRUE(CheckClientId("host:4.rank-1", "client_id").ok());
  EXPECT_FALSE(CheckClientId("", "client_id").ok());
  EXPECT_TRUE(CheckLabel("", "label").ok());
  EXPECT_FALSE(CheckLabel("a/b", "label").ok());
  EXPECT_TRUE(CheckMetricName("val_loss_2", "values").ok());
  EXPECT_FALSE(CheckMetricName("Val", "values").ok());
}

TEST(AnswerToProto, NamesTheFirstOutcomeOfADuplicateOnly) {
  PushAnswer answer;
  answer.outcome = PushOutcome::kApplied;
  answer.version = {2, 5};
  EXPECT_EQ(AnswerToProto(answer).first_outcome(), v1::PUSH_OUTCOME_UNSPECIFIED);
  EXPECT_EQ(AnswerToProto(answer).version().counter(), 5u);
  answer.outcome = PushOutcome::kDuplicate;
  answer.first_outcome = PushOutcome::kBuffered;
  EXPECT_EQ(AnswerToProto(answer).outcome(), v1::PUSH_OUTCOME_DUPLICATE);
  EXPECT_EQ(AnswerToProto(answer).first_outcome(), v1::PUSH_OUTCOME_BUFFERED);
}

TEST(RulesToProto, ListsTheKernelsTables) {
  const v1::ListRulesResponse rules = RulesToProto();
  EXPECT_EQ(static_cast<size_t>(rules.rules_size()),
            kernels::InnerRules().size() + kernels::OuterRules().size() + kernels::AverageRules().size() +
                kernels::Aggregators().size());
  std::map<std::string, std::string> kinds;
  for (const auto& rule : rules.rules()) kinds[rule.name()] = rule.kind();
  EXPECT_EQ(kinds["sgd"], "inner");
  EXPECT_EQ(kinds["nesterov"], "outer");
  EXPECT_EQ(kinds["ema"], "average");
  EXPECT_EQ(static_cast<size_t>(rules.codecs_size()), kernels::Codecs().size());
  EXPECT_EQ(static_cast<size_t>(rules.schedules_size()), Schedules().size());
  for (const auto& schedule : rules.schedules()) {
    const auto& parameters = schedule.parameters();
    ASSERT_GE(parameters.size(), 2) << schedule.name();
    EXPECT_EQ(parameters[parameters.size() - 2].name(), "warmup") << schedule.name();
  }
  EXPECT_EQ(static_cast<size_t>(rules.staleness_weights_size()), StalenessFunctions().size());
  EXPECT_EQ(static_cast<size_t>(rules.presets_size()), Presets().size());
  for (const auto& preset : rules.presets()) {
    EXPECT_FALSE(preset.doc().empty() || preset.citation().empty()) << preset.name();
    EXPECT_NE(preset.rounds().policy(), v1::ROUND_POLICY_UNSPECIFIED) << preset.name();
  }
  for (const auto& rule : rules.rules()) EXPECT_FALSE(rule.citation().empty()) << rule.name();
  std::map<std::string, std::string> eval_slots;
  for (const auto& rule : rules.rules()) {
    if (!rule.eval_slot().empty()) eval_slots[rule.name()] = rule.eval_slot();
    EXPECT_EQ(rule.takes_weights(), rule.name() == "fed_async") << rule.name();
  }
  EXPECT_EQ(eval_slots, (std::map<std::string, std::string>{{"asgd", "ax"},
                                                            {"gpa", "x"},
                                                            {"schedule_free_adamw", "x"},
                                                            {"schedule_free_sgd", "x"}}));
}

}  // namespace
}  // namespace stepback

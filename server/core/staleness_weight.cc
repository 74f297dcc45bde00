#include "server/core/staleness_weight.h"

#include <fmt/format.h>

#include "kernels/power.h"
#include "server/base/status_macros.h"
#include "server/core/field_error.h"
#include "server/core/nearest_name.h"

namespace stepback {
namespace {

constexpr ParameterInfo kCompensatedAge[] = {{.name = "lambda", .default_value = 0.04, .min = 0, .max = 1e6}};
constexpr ParameterInfo kExponentialAge[] = {
    {.name = "gamma", .default_value = 0.9, .min = 0, .max = 1, .min_open = true}};
constexpr ParameterInfo kHingeAge[] = {
    {.name = "a", .default_value = 10, .min = 0, .max = 1e6},
    {.name = "b", .default_value = 4, .min = 0, .max = 1e6},
};
constexpr ParameterInfo kPolynomialAge[] = {{.name = "exponent", .default_value = 0.5, .min = 0, .max = 10}};

double ConstantAge(const double*, double) { return 1; }
double ExponentialAge(const double* v, double lag) { return kernels::Power(v[0], lag); }
double HingeAge(const double* v, double lag) { return lag <= v[1] ? 1 : 1 / (v[0] * (lag - v[1]) + 1); }
double PolynomialAge(const double* v, double lag) { return v[0] == 0 ? 1 : kernels::Power(1 + lag, -v[0]); }

constexpr StalenessInfo kFunctions[] = {
    {"constant", "1 whatever the age", "Xie et al. 2019 (FedAsync)", {}, ConstantAge},
    {kDelayCompensated,
     "1; ASYNC gradients g become g + lambda g g (theta - theta_base), with history_versions past weights",
     "Zheng et al. 2017 (DC-ASGD), equation 10", kCompensatedAge, ConstantAge},
    {"exponential", "gamma^staleness", "the discount gamma^lag of asynchronous SGD", kExponentialAge,
     ExponentialAge},
    {"hinge", "1 up to staleness b, then 1 / (a (staleness - b) + 1)", "Xie et al. 2019 (FedAsync)",
     kHingeAge, HingeAge},
    {"polynomial", "(1 + staleness)^-exponent",
     "Xie et al. 2019 (FedAsync); Nguyen et al. 2022 (FedBuff), exponent 0.5", kPolynomialAge, PolynomialAge},
};

const StalenessInfo* FindFunction(std::string_view name) {
  for (const StalenessInfo& info : kFunctions) {
    if (info.name == name) return &info;
  }
  return nullptr;
}

absl::Status UnknownFunction(const std::string& field, const std::string& name) {
  std::vector<std::string_view> names;
  for (const StalenessInfo& info : kFunctions) names.push_back(info.name);
  return FieldError(field + ".name", fmt::format("'{}' is no staleness weight; did you mean '{}'?",
                                                 Clip(name, 64), NearestName(name, names)));
}

}  // namespace

std::span<const StalenessInfo> StalenessFunctions() { return kFunctions; }

double StalenessWeight::value(std::string_view parameter) const {
  for (size_t i = 0; i < info_->parameters.size(); ++i) {
    if (info_->parameters[i].name == parameter) return values_[i];
  }
  return 0;
}

absl::StatusOr<StalenessWeight> StalenessWeight::Make(const RoundSpec& rounds, const std::string& field) {
  StalenessWeight weight;
  const StalenessSpec& spec = rounds.staleness;
  if (spec.name.empty()) {
    if (!spec.values.empty()) return FieldError(field + ".staleness.values", "is set without a name");
    weight.info_ = FindFunction("polynomial");
    weight.values_ = {rounds.staleness_exponent};
    return weight;
  }
  if (rounds.staleness_exponent != 0) {
    return FieldError(field + ".staleness_exponent",
                      fmt::format("is {} beside staleness '{}'; give one of them", rounds.staleness_exponent,
                                  Clip(spec.name, 64)));
  }
  weight.info_ = FindFunction(spec.name);
  if (weight.info_ == nullptr) return UnknownFunction(field + ".staleness", spec.name);
  ASSIGN_OR_RETURN(weight.values_,
                   ReadParameters(weight.info_->parameters, spec.values,
                                  fmt::format("staleness weight '{}'", spec.name), field + ".staleness"));
  return weight;
}

}  // namespace stepback

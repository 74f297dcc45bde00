#include "tests/unit/core_reference_model.h"

#include <algorithm>
#include <cmath>

namespace stepback::core_test {

ReferenceModel::ReferenceModel(const ModelSpec& spec, const std::vector<TensorPush>& weights) : spec_(spec) {
  for (size_t t = 0; t < weights.size(); ++t) {
    TensorState state;
    state.phi = state.theta = weights[t].values;
    state.phi_bytes = state.theta_bytes = weights[t].bytes;
    state.velocity.assign(state.phi.size(), 0);
    tensors_.push_back(state);
    inner_.push_back(&spec_.inner);
    lr_scale_.push_back(1);
    for (const GroupSpec& group : spec_.groups) {
      if (std::find(group.tensors.begin(), group.tensors.end(), spec_.tensors[t].name) == group.tensors.end())
        continue;
      if (group.inner.has_value()) inner_.back() = &*group.inner;
      lr_scale_.back() = group.lr_scale;
    }
  }
}

double ReferenceModel::Hyper(const RuleSpec& rule, const std::string& name, double otherwise) const {
  const auto found = rule.values.find(name);
  return found == rule.values.end() ? otherwise : found->second;
}

ReferenceModel::Mean ReferenceModel::MeanOf(const std::vector<Contribution>& round, size_t t) const {
  Mean mean;
  double divisor = 0;
  mean.values.assign(tensors_[t].phi.size(), 0);
  for (const Contribution& c : round) {
    if (!c.tensors[t].present) continue;
    mean.there = true;
    mean.bytes = c.tensors[t].bytes;
    divisor += c.share;
    for (size_t i = 0; i < mean.values.size(); ++i) mean.values[i] += c.numerator * c.tensors[t].values[i];
  }
  for (double& x : mean.values) x /= divisor;
  return mean;
}

void ReferenceModel::Commit(const std::vector<Contribution>& round) {
  const bool gradient = spec_.mode == Mode::kGradient;
  std::vector<Mean> means;
  for (size_t t = 0; t < tensors_.size(); ++t) means.push_back(MeanOf(round, t));
  Clip(&means);
  for (size_t t = 0; t < tensors_.size(); ++t) {
    TensorState& state = tensors_[t];
    const Mean& mean = means[t];
    if (!mean.there || spec_.tensors[t].role == Role::kFrozen) continue;
    if (spec_.tensors[t].role == Role::kCarried) {
      state.theta_bytes = mean.bytes;
    } else if (spec_.tensors[t].role == Role::kAveraged) {
      for (size_t i = 0; i < state.theta.size(); ++i) state.theta[i] -= mean.values[i];
    } else if (gradient) {
      Inner(t, mean.values);
    } else {
      Outer(&state, mean.values);
      state.theta = state.phi;
    }
    if (!gradient || spec_.outer.name == "none") {
      state.phi = state.theta;
      state.phi_bytes = state.theta_bytes;
    }
  }
  if (!gradient) {
    ++outer_steps_;
    return;
  }
  ++inner_steps_;
  if (spec_.outer.name == "none" || ++phase_ < spec_.sync_period) return;
  for (size_t t = 0; t < tensors_.size(); ++t) Sync(t);
  ++outer_steps_;
  phase_ = 0;
}

// algorithms.md 3 and 0.1 step 7: values, then every tensor's norm, then the norm of all.
void ReferenceModel::Clip(std::vector<Mean>* means) const {
  const auto factor = [](double bound, double norm) {
    return bound == 0 ? 1.0 : std::min(1.0, bound / (norm + 1e-6));
  };
  const auto norm_of = [](const Doubles& values) {
    double sum = 0;
    for (const double x : values) sum += x * x;
    return std::sqrt(sum);
  };
  std::vector<Doubles*> clipped;
  double total = 0;
  for (size_t t = 0; t < means->size(); ++t) {
    const bool idle = spec_.mode == Mode::kGradient && inner_[t]->name == "none";
    if (!(*means)[t].there || spec_.tensors[t].role != Role::kTrained || idle) continue;
    Doubles& values = (*means)[t].values;
    clipped.push_back(&values);
    const double bound = spec_.clip.value;
    for (double& x : values) x = bound == 0 ? x : std::max(-bound, std::min(x, bound));
    const double of_tensor = factor(spec_.clip.tensor_norm, norm_of(values));
    for (double& x : values) x *= of_tensor;
    total += norm_of(values) * norm_of(values);
  }
  const double of_all = factor(spec_.clip.global_norm, std::sqrt(total));
  for (Doubles* values : clipped) {
    for (double& x : *values) x *= of_all;
  }
}

// algorithms.md 1.1, torch's semantics.
void ReferenceModel::Inner(size_t t, const Doubles& gradient) {
  const RuleSpec& rule = *inner_[t];
  if (rule.name == "none") return;
  TensorState& state = tensors_[t];
  ++state.steps;
  const double lr = Hyper(rule, "lr", 1e-3) * lr_scale_[t];
  const double decay = Hyper(rule, "weight_decay", rule.name == "adamw" ? 1e-2 : 0);
  const double momentum = Hyper(rule, "momentum", 0), dampening = Hyper(rule, "dampening", 0);
  const double beta1 = Hyper(rule, "beta1", 0.9), beta2 = Hyper(rule, "beta2", 0.999),
               eps = Hyper(rule, "eps", 1e-8);
  const double steps = static_cast<double>(state.steps);
  for (const char* name : {"momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"}) {
    state.slots[name].resize(gradient.size(), 0);
  }
  if (rule.name == "lamb") return Lamb(rule, lr, gradient, &state);
  for (size_t i = 0; i < gradient.size(); ++i) {
    double& w = state.theta[i];
    double g = gradient[i];
    if (rule.name == "sgd") {
      g += decay * w;
      double& b = state.slots["momentum_buffer"][i];
      if (momentum != 0) {
        b = state.steps == 1 ? g : momentum * b + (1 - dampening) * g;
        g = Hyper(rule, "nesterov", 0) != 0 ? g + momentum * b : b;
      }
      w -= lr * g;
      continue;
    }
    if (rule.name == "adamw") {
      w *= 1 - lr * decay;
    } else {
      g += decay * w;
    }
    double &m = state.slots["exp_avg"][i], &v = state.slots["exp_avg_sq"][i],
           &x = state.slots["max_exp_avg_sq"][i];
    m += (1 - beta1) * (g - m);
    v = beta2 * v + (1 - beta2) * g * g;
    x = std::max(x, v);
    const double second = Hyper(rule, "amsgrad", 0) != 0 ? x : v;
    w -= lr / (1 - std::pow(beta1, steps)) * m /
         (std::sqrt(second) / std::sqrt(1 - std::pow(beta2, steps)) + eps);
  }
}

// The length of the step is lr times that of the weights, but without decay it is Adam's.
void ReferenceModel::Lamb(const RuleSpec& rule, double lr, const Doubles& gradient,
                          TensorState* state) const {
  const double decay = Hyper(rule, "weight_decay", 1e-2), steps = static_cast<double>(state->steps);
  Doubles update(gradient.size());
  double of_weights = 0, of_update = 0;
  for (size_t i = 0; i < gradient.size(); ++i) {
    double &m = state->slots["exp_avg"][i], &v = state->slots["exp_avg_sq"][i];
    m += 0.1 * (gradient[i] - m);
    v = 0.999 * v + 0.001 * gradient[i] * gradient[i];
    const double second = v / (1 - std::pow(0.999, steps));
    update[i] = m / (1 - std::pow(0.9, steps)) / (std::sqrt(second) + 1e-6) + decay * state->theta[i];
    of_weights += state->theta[i] * state->theta[i];
    of_update += update[i] * update[i];
  }
  const bool adapts = decay != 0 && of_weights > 0 && of_update > 0;
  const double trust = adapts ? std::sqrt(of_weights / of_update) : 1;
  for (size_t i = 0; i < gradient.size(); ++i) state->theta[i] -= lr * trust * update[i];
}

// algorithms.md 5.
void ReferenceModel::Outer(TensorState* state, const Doubles& delta) {
  const bool average = spec_.outer.name == "average", lookahead = spec_.outer.name == "lookahead";
  for (size_t i = 0; i < delta.size(); ++i) {
    double& w = state->phi[i];
    if (average || lookahead) {
      w -= Hyper(spec_.outer, "alpha", average ? 1 : 0.5) * delta[i];
      continue;
    }
    const bool nesterov = spec_.outer.name == "nesterov";
    const double lr = Hyper(spec_.outer, "lr", nesterov ? 0.7 : 1),
                 momentum = Hyper(spec_.outer, "momentum", 0.9);
    double& b = state->velocity[i];
    b = momentum * b + delta[i];
    w -= lr * (nesterov ? delta[i] + momentum * b : b);
  }
}

// algorithms.md 4.1 and 4.2.
void ReferenceModel::Sync(size_t t) {
  TensorState& state = tensors_[t];
  state.phi_bytes = state.theta_bytes;
  if (spec_.tensors[t].role != Role::kTrained) {
    state.phi = state.theta;
    return;
  }
  Doubles delta(state.phi.size());
  for (size_t i = 0; i < delta.size(); ++i) delta[i] = state.phi[i] - state.theta[i];
  Outer(&state, delta);
  state.theta = state.phi;
  if (inner_[t]->name == "none") return;
  if (spec_.inner_state == InnerState::kReset) {
    state.slots.clear();
    state.steps = 0;
  }
  if (spec_.inner_state != InnerState::kPullback) return;
  const double alpha = Hyper(spec_.outer, "alpha", spec_.outer.name == "average" ? 1 : 0.5);
  for (const char* name : {"momentum_buffer", "exp_avg"}) {
    Doubles &m = state.slots[name], &cache = state.caches[name];
    m.resize(delta.size(), 0);
    cache.resize(delta.size(), 0);
    for (size_t i = 0; i < delta.size(); ++i) cache[i] = m[i] = alpha * m[i] + (1 - alpha) * cache[i];
  }
}

}  // namespace stepback::core_test

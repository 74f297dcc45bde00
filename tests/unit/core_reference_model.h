// A second implementation of a model's arithmetic, in fp64 and as plain as it can be: the equations of the
// rules applied element by element, one tensor after another. The oracle of core_reference_test.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "server/core/spec.h"

namespace stepback::core_test {

using Doubles = std::vector<double>;

class ReferenceModel {
 public:
  struct TensorPush {
    bool present = true;
    Doubles values;
    std::string bytes;  // carried
  };
  struct Contribution {
    double share = 1;      // in the divisor
    double numerator = 1;  // of the push
    std::vector<TensorPush> tensors;
  };
  struct TensorState {
    Doubles phi, theta;
    std::string phi_bytes, theta_bytes;    // carried
    std::map<std::string, Doubles> slots;  // of the inner rule, by torch's names
    std::map<std::string, Doubles> caches;
    Doubles velocity;  // of the outer rule
    int64_t steps = 0;
  };

  ReferenceModel(const ModelSpec& spec, const std::vector<TensorPush>& weights);
  // One round, its contributions in order of reduction.
  void Commit(const std::vector<Contribution>& round);

  const TensorState& tensor(size_t t) const { return tensors_[t]; }
  uint64_t inner_steps() const { return inner_steps_; }
  uint64_t outer_steps() const { return outer_steps_; }

 private:
  struct Mean {
    bool there = false;
    Doubles values;
    std::string bytes;
  };
  Mean MeanOf(const std::vector<Contribution>& round, size_t t) const;
  void Clip(std::vector<Mean>* means) const;
  void Inner(size_t t, const Doubles& gradient);
  void Lamb(const RuleSpec& rule, double lr, const Doubles& gradient, TensorState* state) const;
  void Outer(TensorState* state, const Doubles& delta);
  void Sync(size_t t);
  double Hyper(const RuleSpec& rule, const std::string& name, double otherwise) const;

  const ModelSpec spec_;
  std::vector<TensorState> tensors_;
  std::vector<const RuleSpec*> inner_;  // per tensor
  std::vector<double> lr_scale_;
  uint64_t inner_steps_ = 0, outer_steps_ = 0, phase_ = 0;
};

}  // namespace stepback::core_test

// Golden vectors of the rules: tests/golden/<rule>.json, written by make_goldens.py from float64 equations.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace stepback::kernels::testing {

using Vector = std::vector<double>;

struct GoldenCase {
  std::string name;
  std::map<std::string, double> hypers;
  std::vector<Vector> trajectory;   // weights after every step
  std::vector<Vector> evaluations;  // what evaluators read after every step; empty: the weights
};

struct Golden {
  std::string rule;
  std::string kind;  // "inner": inputs are gradients, "outer": mean deltas, "average": slow weights
  Vector start;
  std::vector<Vector> inputs;
  std::vector<GoldenCase> cases;
};

// Every golden of the folder, by rule name. A file that does not parse ends the test program with its name.
const std::map<std::string, Golden>& Goldens();
// Those of tests/golden/aggregate: the inputs are contributions; row n - 1 of a trajectory is the aggregate
// of the first n, empty when they are too few.
const std::map<std::string, Golden>& AggregatorGoldens();

}  // namespace stepback::kernels::testing

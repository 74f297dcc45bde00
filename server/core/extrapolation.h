// Regularised nonlinear acceleration (Scieur, d'Aspremont and Bach 2016, algorithm 1; algorithms.md 6) over
// the last slow weights of a model. The iterates are the versions' own arrays, shared and never copied; what
// is computed at a sync are the inner products of the newest residual with the others (fp64, in an order that
// depends on nothing but the layout), and from all products the weights c of the combination, by LAPACK. The
// combination itself is made where it is read.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "kernels/backend.h"
#include "server/core/model.h"
#include "server/core/model_version.h"

namespace stepback {

// Adds to the iterates of one average, of which at most `memory` are kept. One call's worth; references
// outlive it.
class IterateKeeper {
 public:
  // `runs` says where numbers lie; the rest of the arena has no part.
  IterateKeeper(const Model::Environment& environment, const std::string& model_name,
                std::span<const kernels::AverageRun> runs, size_t memory, Iterates* iterates)
      : environment_(environment),
        model_name_(model_name),
        runs_(runs),
        memory_(memory),
        iterates_(iterates) {}

  // The newest slow weights; or, in the online form, those at the beginning of an interval and its delta.
  // INTERNAL(DEVICE_ERROR); the iterates are not to be used then.
  absl::Status Add(Array array, Array delta = nullptr);

 private:
  const Model::Environment& environment_;
  const std::string& model_name_;
  const std::span<const kernels::AverageRun> runs_;
  const size_t memory_;
  Iterates* const iterates_;
};

// Residuals, of which `products` has one row and column each.
size_t ResidualsOf(const Iterates& iterates);

// Sets iterates->weights: one per residual, with sum 1; none below two residuals, where there is nothing to
// extrapolate. Not part of the state: the last bits are those of the machine's LAPACK.
void SolveWeights(double lambda, Iterates* iterates);

// c = z / sum z with (G / |G| + lambda I) z = 1, |G| the spectral norm, for the k x k products G = R'R, row
// by row; lambda > 0. Uniform when G is zero.
std::vector<double> ExtrapolationWeights(std::vector<double> products, double lambda);

}  // namespace stepback

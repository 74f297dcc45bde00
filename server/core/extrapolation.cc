#include "server/core/extrapolation.h"

#include <lapacke.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <utility>

#include "server/base/status_macros.h"
#include "server/core/model_arrays.h"

namespace stepback {
namespace {

using kernels::kBlockElements;

constexpr uint64_t kTaskElements = 64 * kBlockElements;
constexpr size_t kResidualsLeast = 2;

// Products of the newest residual with every one, over all numbers of the arena. Blocks and tasks are cut by
// the layout alone and added in their order, so the sums do not depend on threads.
class NewestProducts {
 public:
  NewestProducts(kernels::Backend* backend, std::span<const kernels::AverageRun> runs,
                 const Iterates& iterates)
      : backend_(backend), iterates_(iterates), residuals_(ResidualsOf(iterates)) {
    for (const kernels::AverageRun& run : runs) {
      if (!run.numbers) continue;
      for (uint64_t done = 0; done < run.count; done += kTaskElements) {
        tasks_.push_back({run.begin + done, std::min(kTaskElements, run.count - done)});
      }
    }
  }

  kernels::Status Compute(kernels::Executor* executor, std::vector<double>* products) {
    sums_.assign(tasks_.size() * residuals_, 0.0);
    executor->Run(tasks_.size(), [this](size_t task) { RunTask(task); });
    products->assign(residuals_, 0.0);
    for (size_t task = 0; task < tasks_.size(); ++task) {
      for (size_t j = 0; j < residuals_; ++j) (*products)[j] += sums_[task * residuals_ + j];
    }
    return failed_ ? kernels::Status::kDeviceError : kernels::Status::kOk;
  }

 private:
  struct Task {
    uint64_t begin, count;
  };
  using Block = float[kBlockElements];

  void RunTask(size_t task) {
    double* const sums = sums_.data() + task * residuals_;
    for (uint64_t done = 0; done < tasks_[task].count; done += kBlockElements) {
      const size_t count = std::min<uint64_t>(kBlockElements, tasks_[task].count - done);
      const uint64_t begin = tasks_[task].begin + done;
      iterates_.deltas.empty() ? AddDifferences(begin, count, sums) : AddDeltas(begin, count, sums);
    }
  }

  // Goes back from the newest residual to the oldest, so that two iterates are at hand at a time.
  void AddDifferences(uint64_t begin, size_t count, double* sums) {
    Block scratch[2];
    double newest[kBlockElements], residual[kBlockElements];
    const float* later = Read(*iterates_.arrays[residuals_], begin, count, scratch[0]);
    for (size_t j = residuals_; j-- > 0;) {
      const float* const earlier = Read(*iterates_.arrays[j], begin, count, scratch[(residuals_ - j) % 2]);
      for (size_t i = 0; i < count; ++i) residual[i] = double{later[i]} - earlier[i];
      if (j + 1 == residuals_) std::copy_n(residual, count, newest);
      sums[j] += Product(newest, residual, count);
      later = earlier;
    }
  }

  void AddDeltas(uint64_t begin, size_t count, double* sums) {
    Block scratch;
    double newest[kBlockElements], residual[kBlockElements];
    for (size_t j = residuals_; j-- > 0;) {
      std::copy_n(Read(*iterates_.deltas[j], begin, count, scratch), count, residual);
      if (j + 1 == residuals_) std::copy_n(residual, count, newest);
      sums[j] += Product(newest, residual, count);
    }
  }

  static double Product(const double* a, const double* b, size_t count) {
    double lanes[32] = {};
    for (size_t i = 0; i < count; ++i) lanes[i % 32] += a[i] * b[i];
    return std::accumulate(std::begin(lanes), std::end(lanes), 0.0);
  }

  const float* Read(const kernels::Buffer& array, uint64_t begin, size_t count, Block& scratch) {
    if (const float* const host = array.host_floats(); host != nullptr) return host + begin;
    const auto status = backend_->Download(array, begin * sizeof(float),
                                           reinterpret_cast<std::byte*>(scratch), count * sizeof(float));
    if (status == kernels::Status::kOk) return scratch;
    failed_ = true;
    std::fill_n(scratch, count, 0.0f);
    return scratch;
  }

  kernels::Backend* const backend_;
  const Iterates& iterates_;
  const size_t residuals_;
  std::vector<Task> tasks_;
  std::vector<double> sums_;  // by task, then residual
  std::atomic<bool> failed_{false};
};

// Without the oldest iterate.
void DropOldest(Iterates* iterates) {
  const size_t before = ResidualsOf(*iterates);
  iterates->arrays.erase(iterates->arrays.begin());
  if (!iterates->deltas.empty()) iterates->deltas.erase(iterates->deltas.begin());
  std::vector<double> products;
  for (size_t i = 1; i < before; ++i) {
    for (size_t j = 1; j < before; ++j) products.push_back(iterates->products[i * before + j]);
  }
  iterates->products = std::move(products);
}

// One row and column more.
void Append(const std::vector<double>& newest, Iterates* iterates) {
  const size_t after = newest.size(), before = after - 1;
  std::vector<double> products(after * after);
  for (size_t i = 0; i < before; ++i) {
    std::copy_n(iterates->products.data() + i * before, before, products.data() + i * after);
  }
  for (size_t i = 0; i < after; ++i) products[i * after + before] = products[before * after + i] = newest[i];
  iterates->products = std::move(products);
}

std::vector<double> Uniform(size_t count) {
  return std::vector<double>(count, 1.0 / static_cast<double>(count));
}

}  // namespace

size_t ResidualsOf(const Iterates& iterates) {
  if (!iterates.deltas.empty()) return iterates.deltas.size();
  return iterates.arrays.empty() ? 0 : iterates.arrays.size() - 1;
}

absl::Status IterateKeeper::Add(Array array, Array delta) {
  while (iterates_->arrays.size() >= memory_) DropOldest(iterates_);
  iterates_->arrays.push_back(std::move(array));
  if (delta != nullptr) iterates_->deltas.push_back(std::move(delta));
  if (ResidualsOf(*iterates_) == 0) return absl::OkStatus();
  std::vector<double> newest;
  NewestProducts products(environment_.backend, runs_, *iterates_);
  RETURN_IF_ERROR(StatusOf(products.Compute(environment_.executor, &newest), model_name_, "extrapolating"));
  Append(newest, iterates_);
  return absl::OkStatus();
}

void SolveWeights(double lambda, Iterates* iterates) {
  iterates->weights.clear();
  if (ResidualsOf(*iterates) < kResidualsLeast) return;
  iterates->weights = ExtrapolationWeights(iterates->products, lambda);
}

// By the eigenvectors v of G: z = sum_j v_j (v_j . 1) / (e_j / e_max + lambda). They also give the spectral
// norm, and an eigenvalue that rounding made negative cannot spoil the solve as it would a factorisation's.
// The sum of z is no divisor to fear: it is at least k / (1 + lambda).
std::vector<double> ExtrapolationWeights(std::vector<double> products, double lambda) {
  const auto k = static_cast<size_t>(std::lround(std::sqrt(static_cast<double>(products.size()))));
  const auto order = static_cast<lapack_int>(k);
  std::vector<double> values(k);
  std::vector<double>& vectors = products;  // overwritten; vector j is column j
  const lapack_int info =
      LAPACKE_dsyev(LAPACK_ROW_MAJOR, 'V', 'U', order, vectors.data(), order, values.data());
  const double norm = values.back();
  if (info != 0 || !(norm > 0)) return Uniform(k);
  std::vector<double> z(k);
  for (size_t j = 0; j < k; ++j) {
    double along = 0;  // v_j . 1
    for (size_t i = 0; i < k; ++i) along += vectors[i * k + j];
    along /= std::max(values[j], 0.0) / norm + lambda;
    for (size_t i = 0; i < k; ++i) z[i] += along * vectors[i * k + j];
  }
  const double sum = std::accumulate(z.begin(), z.end(), 0.0);
  for (double& weight : z) weight /= sum;
  return z;
}

}  // namespace stepback

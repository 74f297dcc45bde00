#include "kernels/cpu/aggregate.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "kernels/aggregator_info.h"
#include "kernels/cpu/contribution_rows.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/fp_mode.h"
#include "kernels/cpu/measure.h"
#include "kernels/cpu/task_list.h"

namespace stepback::kernels::cpu {
namespace {

// Contributions that carry weight, each with its place in the plan.
struct Active {
  explicit Active(std::span<const Contribution> staged) {
    for (size_t i = 0; i < staged.size(); ++i) {
      if (staged[i].weight == 0) continue;
      all.push_back(&staged[i]);
      places.push_back(i);
    }
  }
  std::vector<const Contribution*> all;
  std::vector<size_t> places;
};

// Those that take part, and with what share.
struct Chosen {
  std::vector<const Contribution*> contributions;
  std::vector<double> shares;
};

// The result of one block at a time. Owned by one task.
class BlockAggregate {
 public:
  BlockAggregate(const Loops& loops, const AggregatorInfo& info, HyperSpan hypers, const Chosen& chosen)
      : loops_(loops),
        info_(info),
        hypers_(hypers),
        chosen_(chosen),
        rows_(loops, info.keep != nullptr || info.combine != nullptr ? chosen.contributions.size() : 1),
        sum_(new (std::nothrow) double[kBlockElements]) {}
  bool ok() const { return rows_.ok() && sum_ != nullptr; }

  void Run(const RowBlock& block, float* out) {
    size_t present = 0;
    for (const Contribution* one : chosen_.contributions) present += one->tensor_offsets[block.tensor] >= 0 ? 1 : 0;
    if (present == 0) return;
    if (info_.combine != nullptr) return Combine(block, out);
    const Ranks kept = info_.keep != nullptr ? info_.keep(hypers_, present) : Ranks{0, present};
    if (kept.count == present) return Mean(block, present, out);
    Sort(block);
    loops_.mean_rows(rows_.rows() + kept.first, kept.count, block.count, out);
  }

 private:
  // In reduction order, as an ordered round without an aggregator has it, bit for bit.
  void Mean(const RowBlock& block, size_t present, float* out) {
    alignas(64) std::byte scratch[kBlockElements * sizeof(float)];
    bool first = true;
    for (size_t i = 0; i < chosen_.contributions.size(); ++i) {
      const Contribution& from = *chosen_.contributions[i];
      if (from.tensor_offsets[block.tensor] < 0) continue;
      const CodecLoops& codec = loops_.codecs[from.codec];
      codec.fold_f64(EncodedBlock(from, block, scratch), from.weight * chosen_.shares[i], first, sum_.get());
      first = false;
    }
    loops_.mean_f64(sum_.get(), block.count, static_cast<double>(present), out);
  }

  size_t Sort(const RowBlock& block) {
    const size_t n = rows_.Load(chosen_.contributions, block);
    loops_.sort_rows(rows_.rows(), n, block.count);
    return n;
  }

  void Combine(const RowBlock& block, float* out) {
    const size_t n = Sort(block);
    column_.resize(n);
    for (size_t i = 0; i < block.count; ++i) {
      for (size_t k = 0; k < n; ++k) column_[k] = rows_.rows()[k][i];
      out[i] = info_.combine(hypers_, column_.data(), n);
    }
  }

  const Loops& loops_;
  const AggregatorInfo& info_;
  const HyperSpan hypers_;
  const Chosen& chosen_;
  ContributionRows rows_;
  const std::unique_ptr<double[]> sum_;
  std::vector<float> column_;
};

class Aggregation {
 public:
  Aggregation(const Loops& loops, Backend* backend, const AggregatePlan& plan, Buffer* out)
      : loops_(loops),
        backend_(backend),
        plan_(plan),
        info_(Aggregators()[plan.aggregator]),
        out_(out),
        active_(plan.staged),
        tasks_(kTaskBytes / sizeof(float) / (active_.all.size() + 1), kBlockElements) {
    for (size_t t = 0; t < plan.tensors.size(); ++t) {
      if (plan.tensors[t].action != TensorAction::kKeep) tasks_.Add(t, plan.tensors[t].count);
    }
  }

  Status Run(Executor* executor) {
    if (const Status status = Choose(executor); status != Status::kOk) return status;
    executor->Run(tasks_.size(), [this](size_t task) {
      const Status status = RunTask(task);
      if (status != Status::kOk) failed_ = status;
    });
    return failed_;
  }

 private:
  Status Choose(Executor* executor) {
    const FpMode mode;
    std::vector<double> shares(active_.all.size(), 1.0);
    if (info_.choose != nullptr && !shares.empty()) {
      MeasuredRound measured;
      const Status status = Measure(loops_, plan_.tensors, active_.all, info_.input, executor, &measured);
      if (status != Status::kOk) return status;
      info_.choose(plan_.hypers, measured.view(), shares);
    }
    std::fill(plan_.shares.begin(), plan_.shares.end(), 0.0);
    for (size_t i = 0; i < shares.size(); ++i) {
      plan_.shares[active_.places[i]] = shares[i];
      if (shares[i] == 0) continue;
      chosen_.contributions.push_back(active_.all[i]);
      chosen_.shares.push_back(shares[i]);
    }
    return Status::kOk;
  }

  // A result that the host cannot write in place goes up piece by piece.
  Status RunTask(size_t task) {
    const FpMode mode;
    BlockAggregate aggregate(loops_, info_, plan_.hypers, chosen_);
    if (!aggregate.ok()) return Status::kOutOfMemory;
    for (const Piece& piece : tasks_[task]) {
      const uint64_t at = plan_.tensors[piece.run].arena_begin + piece.begin;
      if (out_->host() != nullptr) {
        RunPiece(piece, &aggregate, out_->host_floats() + at);
        continue;
      }
      const std::unique_ptr<float[]> result(new (std::nothrow) float[piece.count]());
      if (result == nullptr) return Status::kOutOfMemory;
      RunPiece(piece, &aggregate, result.get());
      const Status status = backend_->Upload(
          out_, at * sizeof(float), reinterpret_cast<std::byte*>(result.get()), piece.count * sizeof(float));
      if (status != Status::kOk) return status;
    }
    return Status::kOk;
  }

  void RunPiece(const Piece& piece, BlockAggregate* aggregate, float* out) const {
    if (plan_.tensors[piece.run].action == TensorAction::kCarried) return CopyCarried(piece, out);
    for (uint64_t done = 0; done < piece.count; done += kBlockElements) {
      const size_t count = std::min<uint64_t>(kBlockElements, piece.count - done);
      aggregate->Run({piece.run, piece.begin + done, count, plan_.tensors[piece.run].count}, out + done);
    }
  }

  // The bytes of the newest of the chosen.
  void CopyCarried(const Piece& piece, float* out) const {
    const auto& from = chosen_.contributions;
    const auto newest = std::find_if(from.rbegin(), from.rend(), [&](const Contribution* one) {
      return one->tensor_offsets[piece.run] >= 0;
    });
    if (newest == from.rend()) return;
    const uint64_t begin = piece.begin * sizeof(float), room = piece.count * sizeof(float);
    const uint64_t end = std::min(plan_.tensors[piece.run].carried_bytes, begin + room);
    auto* const to = reinterpret_cast<std::byte*>(out);
    for (uint64_t at = begin; at < end; at += kBlockElements) {
      const size_t bytes = std::min<uint64_t>(kBlockElements, end - at);
      const std::byte* const in =
          (*newest)->bytes->Read((*newest)->tensor_offsets[piece.run] + at, bytes, to + (at - begin));
      if (in != to + (at - begin)) std::memcpy(to + (at - begin), in, bytes);
    }
  }

  const Loops& loops_;
  Backend* const backend_;
  const AggregatePlan& plan_;
  const AggregatorInfo& info_;
  Buffer* const out_;
  const Active active_;
  TaskList tasks_;
  Chosen chosen_;
  std::atomic<Status> failed_{Status::kOk};
};

}  // namespace

Status AggregateStaged(const Loops& loops, Backend* backend, const AggregatePlan& plan, Buffer* out,
                       Executor* executor) {
  return Aggregation(loops, backend, plan, out).Run(executor);
}

}  // namespace stepback::kernels::cpu

namespace stepback::kernels {

Status Backend::Aggregate(const AggregatePlan& plan, Buffer* out, Executor* executor) {
  return cpu::AggregateStaged(cpu::BestLoops(), this, plan, out, executor);
}

}  // namespace stepback::kernels

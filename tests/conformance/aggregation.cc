#include "tests/conformance/aggregation.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <set>

namespace stepback::kernels::testing {
namespace {

// A worker's tensors one after another, in pieces of random lengths.
struct Sent {
  Sent(const Worker& worker, std::mt19937& random) {
    for (const Bytes& tensor : worker.tensors) {
      offsets.push_back(tensor.empty() ? -1 : static_cast<int64_t>(bytes.size()));
      bytes.insert(bytes.end(), tensor.begin(), tensor.end());
    }
    for (size_t at = 0; at < bytes.size();) {
      const size_t size = std::min<size_t>(1 + random() % 2500, bytes.size() - at);
      view.Append({bytes.data() + at, size});
      at += size;
    }
  }
  Sent(const Sent&) = delete;

  Bytes bytes;
  std::vector<int64_t> offsets;
  EncodedView view;
};

std::vector<TensorStep> StepsOf(const Scenario& s) {
  std::vector<TensorStep> steps;
  const auto begins = s.Begins();
  for (size_t t = 0; t < s.tensors.size(); ++t) {
    steps.push_back({.arena_begin = begins[t],
                     .count = s.tensors[t].count,
                     .carried_bytes = s.tensors[t].carried_bytes,
                     .action = s.tensors[t].action});
  }
  return steps;
}

// --- the second implementation ---

struct Vote {
  size_t place = 0;  // in the scenario
  double weight = 1;
  double share = 1;
  const Worker* worker = nullptr;
};

bool IsNumeric(const TensorCase& tensor) {
  return tensor.action == TensorAction::kTrained || tensor.action == TensorAction::kAveraged;
}

Floats Decoded(const Scenario& s, const Worker& worker, size_t tensor) {
  Floats values(s.tensors[tensor].count, 0.0f);
  if (!worker.tensors[tensor].empty()) {
    Codecs()[worker.codec].decode(worker.tensors[tensor].data(), values.size(), values.data());
  }
  return values;
}

Floats Weighted(const Scenario& s, const Vote& vote, size_t tensor) {
  Floats values = Decoded(s, *vote.worker, tensor);
  for (float& x : values) x = vote.weight == 1 ? x : static_cast<float>(vote.weight * x);
  return values;
}

// Sum of squares of a - b as decisions 21 says it, for one tensor at a time.
void AddSquares(const Floats& a, const Floats& b, double* total) {
  for (size_t block = 0; block < a.size(); block += 1024) {
    std::vector<double> lanes(32, 0.0);
    for (size_t i = block; i < std::min<size_t>(block + 1024, a.size()); ++i) {
      const double d = double{a[i]} - double{b[i]};
      lanes[(i - block) % 32] += d * d;
    }
    while (lanes.size() > 1) {
      const size_t half = lanes.size() / 2;
      for (size_t i = 0; i < half; ++i) lanes[i] += lanes[half + i];
      lanes.resize(half);
    }
    *total += lanes[0];
  }
}

double SquaredDistance(const Scenario& s, const Vote& a, const Vote* b) {
  double total = 0;
  for (size_t t = 0; t < s.tensors.size(); ++t) {
    if (!IsNumeric(s.tensors[t])) continue;
    AddSquares(Weighted(s, a, t), b ? Weighted(s, *b, t) : Floats(s.tensors[t].count, 0.0f), &total);
  }
  return total;
}

using Matrix = std::vector<std::vector<double>>;

Matrix Distances(const Scenario& s, const std::vector<Vote>& votes) {
  Matrix all(votes.size(), std::vector<double>(votes.size(), 0));
  for (size_t i = 0; i < votes.size(); ++i) {
    for (size_t j = i + 1; j < votes.size(); ++j)
      all[i][j] = all[j][i] = SquaredDistance(s, votes[i], &votes[j]);
  }
  return all;
}

double KrumScoreOf(const Matrix& distances, const std::vector<size_t>& among, size_t i, size_t f) {
  std::multiset<double> nearest;
  for (const size_t j : among) {
    if (j != i) nearest.insert(distances[i][j]);
  }
  const size_t wanted = among.size() >= f + 3 ? among.size() - f - 2 : 1;
  double score = 0;
  size_t taken = 0;
  for (auto it = nearest.begin(); it != nearest.end() && taken < wanted; ++it, ++taken) score += *it;
  return score;
}

// The `count` lowest scores, the first of equal ones.
std::vector<size_t> KrumWinners(const Matrix& distances, const std::vector<size_t>& among, size_t f,
                                size_t count) {
  std::vector<std::pair<double, size_t>> scored;
  for (const size_t i : among) scored.emplace_back(KrumScoreOf(distances, among, i, f), i);
  std::sort(scored.begin(), scored.end());
  std::vector<size_t> winners;
  for (size_t k = 0; k < count; ++k) winners.push_back(scored[k].second);
  return winners;
}

double MedianOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

void SetShares(const Scenario& s, const AggregatorCase& aggregator, std::vector<Vote>* votes) {
  const size_t n = votes->size();
  if (aggregator.name == "median_norm_clip") {
    std::vector<double> norms;
    for (const Vote& vote : *votes) norms.push_back(std::sqrt(SquaredDistance(s, vote, nullptr)));
    const double median = MedianOf(norms);
    for (size_t i = 0; i < n; ++i) (*votes)[i].share = norms[i] > median ? median / norms[i] : 1;
  }
  if (!aggregator.info().compares() || aggregator.name == "median_norm_clip") return;
  const auto f = static_cast<size_t>(aggregator.hypers()[0]);
  const Matrix distances = Distances(s, *votes);
  std::vector<size_t> among(n), winners;
  std::iota(among.begin(), among.end(), size_t{0});
  if (aggregator.name == "krum") winners = KrumWinners(distances, among, f, 1);
  if (aggregator.name == "multi_krum") {
    const auto m = static_cast<size_t>(aggregator.hypers()[1]);
    winners = KrumWinners(distances, among, f, m == 0 ? n - f : m);
  }
  if (aggregator.name == "bulyan") {
    while (winners.size() < n - 2 * f) {
      winners.push_back(KrumWinners(distances, among, f, 1)[0]);
      among.erase(std::find(among.begin(), among.end(), winners.back()));
    }
  }
  for (Vote& vote : *votes) vote.share = 0;
  for (const size_t i : winners) (*votes)[i].share = 1;
}

float MeanOfValues(std::vector<float> values) {
  double sum = 0;
  for (const float x : values) sum += x;
  return static_cast<float>(sum / static_cast<double>(values.size()));
}

// The count values closest to the median, of equally close ones the lower.
std::vector<float> Closest(std::vector<float> values, size_t count) {
  const double median = MedianOf({values.begin(), values.end()});
  std::stable_sort(values.begin(), values.end(), [&](float a, float b) {
    const double da = std::abs(a - median), db = std::abs(b - median);
    return da != db ? da < db : a < b;
  });
  values.resize(count);
  std::sort(values.begin(), values.end());
  return values;
}

float ElementOf(const AggregatorCase& aggregator, const std::vector<float>& values) {
  const size_t n = values.size();
  std::vector<float> sorted = values;
  std::sort(sorted.begin(), sorted.end());
  if (aggregator.name == "coordinate_median" && n > 2) {
    return static_cast<float>(MedianOf({values.begin(), values.end()}));
  }
  if (aggregator.name == "trimmed_mean") {
    const auto b = static_cast<size_t>(std::floor(aggregator.hypers()[0] * static_cast<double>(n)));
    if (b > 0) return MeanOfValues({sorted.begin() + b, sorted.end() - b});
  }
  if (aggregator.name == "bulyan") {
    const auto f = static_cast<size_t>(aggregator.hypers()[0]);
    return MeanOfValues(Closest(sorted, n - 2 * f));
  }
  return 0;
}

bool IsPlainMean(const AggregatorCase& aggregator, size_t n) {
  if (aggregator.name == "bulyan") return false;
  if (aggregator.name == "coordinate_median") return n <= 2;
  if (aggregator.name == "trimmed_mean")
    return std::floor(aggregator.hypers()[0] * static_cast<double>(n)) == 0;
  return true;
}

void AggregateTensor(const Scenario& s, const AggregatorCase& aggregator, const std::vector<Vote>& votes,
                     size_t tensor, float* out) {
  std::vector<Vote> from;
  for (const Vote& vote : votes) {
    if (vote.share != 0 && !vote.worker->tensors[tensor].empty()) from.push_back(vote);
  }
  if (from.empty()) return;
  if (s.tensors[tensor].action == TensorAction::kCarried) {
    std::memcpy(out, from.back().worker->tensors[tensor].data(), s.tensors[tensor].carried_bytes);
    return;
  }
  std::vector<Floats> raw, weighted;
  for (const Vote& vote : from) {
    raw.push_back(Decoded(s, *vote.worker, tensor));
    weighted.push_back(Weighted(s, vote, tensor));
  }
  for (size_t i = 0; i < s.tensors[tensor].count; ++i) {
    if (IsPlainMean(aggregator, from.size())) {
      double sum = 0;
      for (size_t k = 0; k < from.size(); ++k) {
        const double w = from[k].weight * from[k].share;
        sum = k == 0 ? w * raw[k][i] : std::fma(w, double{raw[k][i]}, sum);
      }
      out[i] = static_cast<float>(sum / static_cast<double>(from.size()));
      continue;
    }
    std::vector<float> values;
    for (const Floats& row : weighted) values.push_back(row[i]);
    out[i] = ElementOf(aggregator, values);
  }
}

}  // namespace

std::vector<double> AggregatorCase::hypers() const {
  std::vector<double> values;
  for (const HyperInfo& hyper : info().hypers) {
    const auto given = named.find(std::string(hyper.name));
    values.push_back(given != named.end() ? given->second : hyper.default_value);
  }
  return values;
}

Aggregated AggregateOn(Backend& backend, Executor* executor, const Scenario& s,
                       const AggregatorCase& aggregator) {
  std::mt19937 random(s.cuts_seed);
  std::vector<std::unique_ptr<Sent>> sent;
  std::vector<Contribution> staged;
  for (const Worker& worker : s.workers) {
    sent.push_back(std::make_unique<Sent>(worker, random));
    staged.push_back({worker.codec, worker.weight, &sent.back()->view, sent.back()->offsets});
  }
  const auto steps = StepsOf(s);
  const auto hypers = aggregator.hypers();
  Aggregated result{.sum = Floats(s.arena_floats()), .shares = std::vector<double>(staged.size(), -1)};
  const size_t bytes = s.arena_floats() * sizeof(float);
  const auto sum = backend.Allocate(bytes);
  backend.Zero(sum.get());
  result.status = backend.Aggregate({.aggregator = aggregator.info().id,
                                     .hypers = hypers,
                                     .tensors = steps,
                                     .staged = staged,
                                     .shares = result.shares},
                                    sum.get(), executor);
  backend.Download(*sum, 0, reinterpret_cast<std::byte*>(result.sum.data()), bytes);
  return result;
}

Aggregated ReferenceAggregate(const Scenario& s, const AggregatorCase& aggregator) {
  std::vector<Vote> votes;
  for (size_t i = 0; i < s.workers.size(); ++i) {
    if (s.workers[i].weight != 0) votes.push_back({i, s.workers[i].weight, 1, &s.workers[i]});
  }
  SetShares(s, aggregator, &votes);
  Aggregated result{.sum = Floats(s.arena_floats(), 0.0f),
                    .shares = std::vector<double>(s.workers.size(), 0)};
  for (const Vote& vote : votes) result.shares[vote.place] = vote.share;
  const auto begins = s.Begins();
  for (size_t t = 0; t < s.tensors.size(); ++t) {
    if (s.tensors[t].action == TensorAction::kKeep) continue;
    AggregateTensor(s, aggregator, votes, t, result.sum.data() + begins[t]);
  }
  return result;
}

Scenario RandomRound(std::mt19937& random, size_t workers, bool whole) {
  static constexpr uint64_t kCounts[] = {0, 1, 3, 17, 63, 64, 65, 100, 1023, 1024, 1025, 2100};
  std::normal_distribution<float> normal;
  Scenario s;
  const size_t tensors = 1 + random() % 4;
  for (size_t t = 0; t < tensors || s.arena_floats() == 0; ++t) {
    TensorCase tensor{.count = kCounts[random() % std::size(kCounts)]};
    const auto kind = random() % 6;
    if (kind == 0) tensor.action = TensorAction::kAveraged;
    if (kind == 1 && tensor.count > 0) {
      tensor.action = TensorAction::kCarried;
      tensor.carried_bytes = tensor.count * sizeof(float) - random() % sizeof(float);
    }
    if (kind == 2) tensor.action = TensorAction::kKeep;
    s.tensors.push_back(tensor);
  }
  for (size_t i = 0; i < workers; ++i) {
    Worker worker{.codec = static_cast<int>(random() % Codecs().size()),
                  .weight = random() % 3 == 0 ? 1.0 / static_cast<double>(1 + random() % 5) : 1.0};
    for (const TensorCase& tensor : s.tensors) {
      Floats values(tensor.count);
      for (float& x : values) x = normal(random);
      Bytes bytes = Encode(worker.codec, values);
      if (tensor.carried_bytes > 0) {
        bytes.resize(tensor.carried_bytes);
        for (std::byte& b : bytes) b = static_cast<std::byte>(random());
      }
      if (!whole && random() % 4 == 0) bytes.clear();
      worker.tensors.push_back(std::move(bytes));
    }
    s.workers.push_back(std::move(worker));
  }
  s.cuts_seed = random();
  return s;
}

Scenario RoundOf(const std::vector<Floats>& contributions) {
  Scenario s;
  s.tensors = {TensorCase{.count = contributions.front().size()}};
  const int f32 = FindCodec("f32")->id;
  for (const Floats& values : contributions)
    s.workers.push_back({.codec = f32, .tensors = {Encode(f32, values)}});
  return s;
}

}  // namespace stepback::kernels::testing

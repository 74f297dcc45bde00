// Holds the live series and turns them into Prometheus families at a scrape.
//
// A *block* is all series of one row that share their open label values, e.g. stepback_pushes_total of one
// model: its closed labels (kind x outcome) are laid out in a grid, so a caller reaches a series by index,
// without a lookup. Blocks are shared: a handle stays usable after Remove, it is then no longer exported.
// Thread: any. The mutex is held to add, remove and list blocks, never to count.
//
//   Grid<Counter> pushes = store.Counters("stepback_pushes_total", {"lm"});
//   pushes(PushKind::kDelta, PushOutcome::kApplied).Add();
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/base/mutex.h"
#include "server/telemetry/counter.h"
#include "server/telemetry/gauge.h"
#include "server/telemetry/grid.h"
#include "server/telemetry/histogram.h"
#include "server/telemetry/metric_table.h"

namespace prometheus {
struct MetricFamily;
}

namespace stepback::telemetry {

class MetricStore {
 public:
  enum class Export { kYes, kNo };  // kNo: the handle works, nothing is shown

  MetricStore();

  Grid<Counter> Counters(std::string_view name, std::vector<std::string> open = {},
                         Export shown = Export::kYes);
  // Also for a counter whose value is kept elsewhere and read at the scrape (CPU time, log events).
  Grid<Gauge> Gauges(std::string_view name, std::vector<std::string> open = {}, Export shown = Export::kYes);
  Grid<Histogram> Histograms(std::string_view name, std::vector<std::string> open = {},
                             Export shown = Export::kYes);

  using Match = std::vector<std::pair<std::string_view, std::string_view>>;  // label name, value
  // Stops exporting the blocks that carry all the labels of `match`: of every family, or of family `name`
  // only.
  void Remove(const Match& match);
  void Remove(std::string_view name, const Match& match);

  // Every family of the table, in table order, including those that have no series yet.
  std::vector<prometheus::MetricFamily> Collect() const;

 private:
  struct Block {
    std::vector<std::string> open;
    std::shared_ptr<const GridBase> grid;
  };
  struct Family {
    const MetricRow* row;
    std::vector<Block> blocks;
  };

  template <typename T, typename Make>
  Grid<T> AddBlock(std::string_view name, std::vector<std::string> open, Export shown, Make make);
  static void RemoveFrom(Family* family, const Match& match);

  mutable Mutex mu_;
  std::vector<Family> families_ GUARDED_BY(mu_);
  std::map<std::string_view, size_t> index_;  // fixed after construction
};

}  // namespace stepback::telemetry

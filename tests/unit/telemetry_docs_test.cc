#include <gtest/gtest.h>

#include "server/telemetry/metric_table.h"
#include "tests/unit/doc_section.h"

namespace stepback::telemetry {
namespace {

TEST(MetricDocs, TheTableOfDocsMetricsIsTheCodesTable) {
  EXPECT_TRUE(DocumentHolds("docs/metrics.md", MetricTableMarkdown())) << "run with STEPBACK_UPDATE_DOCS=1";
}

TEST(MetricDocs, AChangedTableIsNoticed) {
  if (UpdatingDocs()) GTEST_SKIP() << "the document is being written";
  EXPECT_FALSE(DocumentHolds("docs/metrics.md", MetricTableMarkdown() + "| x |\n"));
}

}  // namespace
}  // namespace stepback::telemetry

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/config/nearest.h"
#include "server/config/value_text.h"

namespace stepback {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

TEST(ParseBytes, TakesBinaryAndDecimalUnitsAndPlainBytes) {
  const std::pair<const char*, uint64_t> kCases[] = {{"4096", 4096},
                                                     {"0", 0},
                                                     {"1B", 1},
                                                     {"64KiB", 65536},
                                                     {"8MiB", 8388608},
                                                     {"1GiB", 1ull << 30},
                                                     {"2TiB", 2ull << 40},
                                                     {"4MB", 4000000},
                                                     {"3kB", 3000},
                                                     {"3KB", 3000},
                                                     {"1.5GiB", 3ull << 29},
                                                     {"0.5KiB", 512},
                                                     {"2GB", 2000000000},
                                                     {"1TB", 1000000000000}};
  for (const auto& [text, bytes] : kCases) {
    const auto parsed = ParseBytes(text);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, bytes) << text;
  }
}

TEST(ParseBytes, RefusesWhatIsNoSizeByName) {
  for (const char* text : {"", "MiB", "-1", "-1MiB", "1 MiB", "8M", "8mib", "1e400", "nan", "nanMiB",
                           "infGiB", "0x10", "1MiBMiB", "1.3B", "100000000TiB", " 1"}) {
    const auto parsed = ParseBytes(text);
    ASSERT_FALSE(parsed.ok()) << text << " -> " << *parsed;
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("'" + std::string(text) + "'"));
  }
}

TEST(FormatBytes, UsesTheLargestExactUnitAndReadsBack) {
  EXPECT_EQ(FormatBytes(8 << 20), "8MiB");
  EXPECT_EQ(FormatBytes(0), "0");
  EXPECT_EQ(FormatBytes(1025), "1025");
  EXPECT_EQ(FormatBytes(3ull << 29), "1536MiB");
  for (const uint64_t bytes : {1ull, 1024ull, 1ull << 20, 1ull << 40, 12345ull, 3000000ull}) {
    EXPECT_EQ(*ParseBytes(FormatBytes(bytes)), bytes);
  }
}

TEST(ParseDuration, TakesUnitsAndTheirSums) {
  EXPECT_EQ(*ParseDuration("30s"), seconds(30));
  EXPECT_EQ(*ParseDuration("500ms"), milliseconds(500));
  EXPECT_EQ(*ParseDuration("1h30m"), seconds(5400));
  EXPECT_EQ(*ParseDuration("1.5s"), milliseconds(1500));
  EXPECT_EQ(*ParseDuration("0"), seconds(0));
}

TEST(ParseDuration, RefusesNumbersWithoutUnitNegativesAndForever) {
  for (const char* text : {"30", "", "s", "-1s", "inf", "9000h", "30 s", "1d", "s30"}) {
    const auto parsed = ParseDuration(text);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("'" + std::string(text) + "'"));
  }
}

TEST(FormatDuration, ReadsBack) {
  for (const Duration d :
       {Duration(seconds(0)), Duration(milliseconds(1500)), Duration(seconds(60)), Duration(seconds(3661))}) {
    EXPECT_EQ(*ParseDuration(FormatDuration(d)), d) << FormatDuration(d);
  }
  EXPECT_EQ(FormatDuration(seconds(30)), "30s");
}

TEST(ParseCountAndBool, TakeTheWholeTextOrRefuseIt) {
  EXPECT_EQ(*ParseCount("18446744073709551615"), UINT64_MAX);
  for (const char* text : {"", "-1", "1.5", "1x", " 1", "18446744073709551616"})
    EXPECT_FALSE(ParseCount(text).ok()) << text;
  EXPECT_TRUE(*ParseBool("true"));
  EXPECT_FALSE(*ParseBool("false"));
  for (const char* text : {"", "yes", "1", "True"}) EXPECT_FALSE(ParseBool(text).ok()) << text;
}

TEST(EditDistance, CountsSingleEditsAndSwaps) {
  EXPECT_EQ(EditDistance("", "abc"), 3u);
  EXPECT_EQ(EditDistance("listen", "listen"), 0u);
  EXPECT_EQ(EditDistance("lisen", "listen"), 1u);
  EXPECT_EQ(EditDistance("lsiten", "listen"), 1u);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3u);
}

TEST(Nearest, OffersWhatWasMeantAndNothingFarFetched) {
  const std::vector<std::string> names = {"server.listen", "limits.max_models", "metrics.max_models",
                                          "log.level"};
  EXPECT_EQ(Nearest("limits.max_modles", names), "limits.max_models");
  EXPECT_EQ(Nearest("grpc.listen", names), "server.listen");  // the right name in the wrong section
  EXPECT_EQ(Nearest("banana", names), "");
  EXPECT_EQ(Nearest("x", {}), "");
  EXPECT_EQ(DidYouMean("log.levle", names), " (did you mean 'log.level'?)");
  EXPECT_EQ(Nearest("log.leve1", {"log.label", "log.level"}), "log.level");
  EXPECT_EQ(Nearest("abcd", {"abcdefg", "xy"}), "") << "more than a third of the name is missing";
  EXPECT_EQ(DidYouMean(std::string(100000, 'x'), names), "");
}

}  // namespace
}  // namespace stepback

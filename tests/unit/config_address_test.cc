#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/config/listen_address.h"

namespace stepback {
namespace {

TEST(ListenAddress, ReadsHostAndPort) {
  const ListenAddress v4 = *ParseListenAddress("127.0.0.1:7400");
  EXPECT_EQ(v4.host, "127.0.0.1");
  EXPECT_EQ(v4.port, 7400);
  const ListenAddress v6 = *ParseListenAddress("[::1]:0");
  EXPECT_EQ(v6.host, "::1");
  EXPECT_EQ(v6.port, 0);
  EXPECT_EQ(ParseListenAddress("unix:/run/stepback.sock")->unix_path, "/run/stepback.sock");
  EXPECT_EQ(ParseListenAddress("unix-abstract:stepback")->unix_path, "@stepback");
}

TEST(ListenAddress, ToStringReadsBack) {
  for (const char* text :
       {"127.0.0.1:7400", "[::1]:80", "host.example:1", "unix:/run/s", "unix-abstract:name"}) {
    EXPECT_EQ(ParseListenAddress(text)->ToString(), text);
  }
}

TEST(ListenAddress, RefusesWhatIsNoAddressByName) {
  const std::string long_path = "unix:/" + std::string(200, 'x');
  for (const std::string& text :
       {std::string(""), std::string("7400"), std::string(":7400"), std::string("host"), std::string("host:"),
        std::string("host:65536"), std::string("host:-1"), std::string("host:1x"), std::string("::1:7400"),
        std::string("[::1]"), std::string("[host]:1"), std::string("http://host:1"), std::string("unix:"),
        long_path}) {
    const auto parsed = ParseListenAddress(text);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(parsed.status().message()), ::testing::HasSubstr("'" + text + "'"));
  }
}

TEST(ListenAddress, LoopbackIsThisMachineOnly) {
  for (const char* text : {"127.0.0.1:1", "127.255.0.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "localhost:1",
                           "unix:/run/s", "unix-abstract:s"}) {
    EXPECT_TRUE(ParseListenAddress(text)->IsLoopback()) << text;
  }
  for (const char* text :
       {"0.0.0.0:1", "[::]:1", "10.0.0.1:1", "128.0.0.1:1", "126.255.255.255:1", "[fe80::1]:1",
        "[::ffff:10.0.0.1]:1", "localhost.example.org:1", "host:1", "127.0.0.1.example.org:1"}) {
    EXPECT_FALSE(ParseListenAddress(text)->IsLoopback()) << text;
  }
}

}  // namespace
}  // namespace stepback

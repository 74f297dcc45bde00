#include "server/http/http_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

namespace stepback {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// Sends `request` as it is and reads to the end of the connection.
std::string Exchange(int port, const std::string& request) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
    (void)!send(fd, request.data(), request.size(), MSG_NOSIGNAL);
    char buffer[4096];
    for (ssize_t n; (n = recv(fd, buffer, sizeof(buffer), 0)) > 0;)
      answer.append(buffer, static_cast<size_t>(n));
  }
  close(fd);
  return answer;
}

std::string Get(int port, const std::string& path, const std::string& method = "GET") {
  return Exchange(port, method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
}

std::string BodyOf(const std::string& answer) {
  const size_t end = answer.find("\r\n\r\n");
  return end == std::string::npos ? "" : answer.substr(end + 4);
}

std::unique_ptr<HttpServer> MustStart(HttpOptions options, HttpHandlers handlers) {
  auto server = HttpServer::Start(options, std::move(handlers));
  EXPECT_TRUE(server.ok()) << server.status();
  return server.ok() ? *std::move(server) : nullptr;
}

TEST(HttpServer, PortZeroGivesAPortThatAnswers) {
  const auto server = MustStart({}, {.metrics = [] { return "up 1\n"; }});
  EXPECT_GT(server->port(), 0);
  EXPECT_EQ(server->url(), "http://127.0.0.1:" + std::to_string(server->port()));
  const std::string answer = Get(server->port(), "/metrics");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_EQ(BodyOf(answer), "up 1\n");
}

TEST(HttpServer, QueryStringsDoNotChangeThePath) {
  const auto server = MustStart({}, {.metrics = [] { return "up 1\n"; }});
  EXPECT_EQ(BodyOf(Get(server->port(), "/metrics?name=x")), "up 1\n");
}

TEST(HttpServer, HeadHasTheHeadersOnly) {
  const auto server = MustStart({}, {.metrics = [] { return "up 1\n"; }});
  const std::string answer = Get(server->port(), "/metrics", "HEAD");
  EXPECT_THAT(answer, HasSubstr("Content-Length: 5\r\n"));
  EXPECT_EQ(BodyOf(answer), "");
}

TEST(HttpServer, OtherMethodsAreRefusedOverTheWire) {
  const auto server = MustStart({}, {});
  for (const char* method : {"POST", "PUT", "DELETE", "PATCH", "OPTIONS"}) {
    EXPECT_THAT(Get(server->port(), "/livez", method), StartsWith("HTTP/1.1 405 ")) << method;
  }
}

TEST(HttpServer, PathsNeverReachTheFileSystem) {
  const auto server = MustStart({}, {});
  for (const char* path : {"/../../etc/passwd", "/%2e%2e/etc/passwd", "//etc/passwd", "/CMakeLists.txt"}) {
    EXPECT_THAT(Get(server->port(), path), StartsWith("HTTP/1.1 404 ")) << path;
  }
}

TEST(HttpServer, NonsenseIsAnsweredWithAnErrorAndTheServerGoesOn) {
  const auto server = MustStart({}, {});
  const std::string nonsense[] = {"\r\n\r\n", "hello\r\n\r\n", std::string(100, '\0') + "\r\n\r\n",
                                  "GET / HTTP/9.9\r\n\r\n",
                                  "GET " + std::string(100000, 'a') + " HTTP/1.1\r\n\r\n"};
  for (const std::string& request : nonsense) {
    EXPECT_THAT(Exchange(server->port(), request), ::testing::Not(HasSubstr(" 200 ")));
  }
  EXPECT_THAT(Get(server->port(), "/livez"), StartsWith("HTTP/1.1 200 "));
}

TEST(HttpServer, LargeBodiesArriveWhole) {
  const std::string body(8 << 20, 'x');
  const auto server = MustStart({}, {.metrics = [&] { return body; }});
  EXPECT_EQ(BodyOf(Get(server->port(), "/metrics")), body);
}

TEST(HttpServer, AHandlerThatThrowsIsA500AndTheServerGoesOn) {
  const auto server =
      MustStart({}, {.status_json = []() -> std::string { throw std::runtime_error("broken"); }});
  EXPECT_THAT(Get(server->port(), "/api/v1/status"), StartsWith("HTTP/1.1 500 "));
  EXPECT_THAT(Get(server->port(), "/livez"), StartsWith("HTTP/1.1 200 "));
}

TEST(HttpServer, ManyClientsAtOnceAreAllAnswered) {
  std::atomic<int> calls{0};
  const auto server = MustStart({.threads = 3}, {.metrics = [&] { return std::to_string(++calls); }});
  std::atomic<int> answered{0};
  std::vector<std::thread> clients;
  for (int c = 0; c < 8; ++c) {
    clients.emplace_back([&] {
      for (int i = 0; i < 20; ++i) answered += Get(server->port(), "/metrics").starts_with("HTTP/1.1 200 OK");
    });
  }
  for (auto& client : clients) client.join();
  EXPECT_EQ(answered, 160);
  EXPECT_EQ(calls, 160);
}

TEST(HttpServer, ATakenPortIsAnErrorThatNamesHostPortAndReason) {
  const auto first = MustStart({}, {});
  const auto second = HttpServer::Start({.host = "127.0.0.1", .port = first->port()}, {});
  ASSERT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  const std::string message(second.status().message());
  EXPECT_THAT(message, HasSubstr("127.0.0.1:" + std::to_string(first->port())));
  EXPECT_THAT(message, HasSubstr("in use"));
  EXPECT_THAT(Get(first->port(), "/livez"), StartsWith("HTTP/1.1 200 "));
}

TEST(HttpServer, AHostThatIsNotOursIsAnErrorThatNamesIt) {
  const auto foreign = HttpServer::Start({.host = "192.0.2.1", .port = 0}, {});
  EXPECT_EQ(foreign.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(foreign.status().message()), HasSubstr("192.0.2.1:0"));
  const auto unknown = HttpServer::Start({.host = "no such host", .port = 0}, {});
  EXPECT_EQ(unknown.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(unknown.status().message()),
              HasSubstr("no such host:0: Name or service not known"));
}

TEST(HttpServer, LocalhostIsTheIpv4Loopback) {
  const auto server = MustStart({.host = "localhost"}, {});
  EXPECT_THAT(Get(server->port(), "/livez"), StartsWith("HTTP/1.1 200 "));
}

TEST(HttpServer, Ipv6IsServedOrRefusedInSoManyWords) {
  const auto server = HttpServer::Start({.host = "::1"}, {});
  if (server.ok()) {
    EXPECT_THAT((*server)->url(), StartsWith("http://[::1]:"));
  } else {
    EXPECT_THAT(std::string(server.status().message()),
                HasSubstr("[::1]:0: this build of civetweb has no IPv6"));
  }
}

TEST(HttpServer, ThePortIsFreeAgainAfterTheServerIsGone) {
  auto server = MustStart({}, {});
  const int port = server->port();
  server.reset();
  EXPECT_EQ(Get(port, "/livez"), "");
  server = MustStart({.port = port}, {});
  EXPECT_THAT(Get(port, "/livez"), StartsWith("HTTP/1.1 200 "));
}

TEST(HttpServer, StopsWithoutWaitingForAConnection) {
  auto server = MustStart({}, {});
  const auto start = std::chrono::steady_clock::now();
  server.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - start,
            std::chrono::milliseconds(1500));  // 2 s without the nudge
}

TEST(BoundAddress, IsWrittenInNumbersWithBracketsWhereNeeded) {
  EXPECT_EQ(ResolveBoundAddress("localhost", 7401)->ToString(), "127.0.0.1:7401");
  EXPECT_EQ(ResolveBoundAddress("::1", 7401)->ToString(), "[::1]:7401");
  BoundAddress address = *ResolveBoundAddress("0.0.0.0", 0);
  address.SetPort(80);
  EXPECT_EQ(address.ToString(), "0.0.0.0:80");
}

}  // namespace
}  // namespace stepback

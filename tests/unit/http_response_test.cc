#include "server/http/http_response.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/http/status_page.h"

namespace stepback {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

HttpHandlers AllHandlers() {
  return {.metrics = [] { return "a 1\n"; },
          .ready = [] { return absl::OkStatus(); },
          .status_json = [] { return R"({"ready":true})"; },
          .flags_yaml = [] { return "log:\n"; }};
}

TEST(HttpAnswer, EveryPathHasItsContentAndType) {
  const struct {
    const char *path, *type, *body;
  } kCases[] = {{"/metrics", "text/plain; version=0.0.4; charset=utf-8", "a 1\n"},
                {"/livez", "text/plain; charset=utf-8", "alive\n"},
                {"/readyz", "text/plain; charset=utf-8", "ready\n"},
                {"/api/v1/status", "application/json", R"({"ready":true})"},
                {"/flagz", "application/yaml; charset=utf-8", "log:\n"}};
  for (const auto& c : kCases) {
    const HttpResponse response = Answer(AllHandlers(), {"GET", c.path});
    EXPECT_EQ(response.status, 200) << c.path;
    EXPECT_EQ(response.content_type, c.type) << c.path;
    EXPECT_EQ(response.body, c.body) << c.path;
  }
}

TEST(HttpAnswer, NotReadyIs503WithTheReasonWhileLivezStaysOk) {
  HttpHandlers handlers = AllHandlers();
  handlers.ready = [] { return absl::UnavailableError("restoring 'lm'"); };
  EXPECT_EQ(Answer(handlers, {"GET", "/readyz"}).status, 503);
  EXPECT_EQ(Answer(handlers, {"GET", "/readyz"}).body, "not ready: restoring 'lm'\n");
  EXPECT_EQ(Answer(handlers, {"GET", "/livez"}).status, 200);
}

TEST(HttpAnswer, EveryOtherMethodIsRefusedOnEveryPathWithoutCallingAnything) {
  HttpHandlers handlers;
  int calls = 0;
  handlers.metrics = handlers.status_json = handlers.flags_yaml = [&] { return std::to_string(++calls); };
  for (const char* method : {"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "get"}) {
    for (const char* path : {"/", "/metrics", "/livez", "/readyz", "/flagz", "/api/v1/status", "/nothing"}) {
      EXPECT_EQ(Answer(handlers, {method, path}).status, 405) << method << " " << path;
    }
  }
  EXPECT_EQ(calls, 0);
  EXPECT_THAT(ResponseHead({405, "text/plain", ""}), HasSubstr("Allow: GET, HEAD\r\n"));
}

TEST(HttpAnswer, UnknownPathsAndThoseWithoutHandlerAre404) {
  for (const char* path : {"/metrics/", "/admin", "/../etc/passwd", ""}) {
    EXPECT_EQ(Answer(AllHandlers(), {"GET", path}).status, 404) << path;
  }
  EXPECT_EQ(Answer({}, {"GET", "/metrics"}).status, 404);
  EXPECT_EQ(Answer({}, {"GET", "/readyz"}).status, 200);
}

TEST(HttpAnswer, HeadersSayTheLengthAndForbidCachingFramingAndSniffing) {
  const std::string head = ResponseHead({200, "text/plain", "12345"});
  EXPECT_THAT(head, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(head, HasSubstr("Content-Length: 5\r\n"));
  EXPECT_THAT(head, HasSubstr("Cache-Control: no-store\r\n"));
  EXPECT_THAT(head, HasSubstr("X-Content-Type-Options: nosniff\r\n"));
  EXPECT_THAT(head, HasSubstr("frame-ancestors 'none'"));
  EXPECT_TRUE(head.ends_with("\r\n\r\n"));
}

TEST(StatusPage, IsOneFileWithoutOutsideResourcesOrMarkupFromData) {
  const std::string page(StatusPageHtml());
  EXPECT_THAT(page, StartsWith("<!doctype html>"));
  EXPECT_THAT(page, HasSubstr("</html>"));
  EXPECT_THAT(page, HasSubstr("fetch(\"/api/v1/status\""));
  for (const char* unwanted :
       {"http://", "https://", "src=", "@import", "innerHTML", "insertAdjacentHTML", "eval("}) {
    EXPECT_THAT(page, Not(HasSubstr(unwanted)));
  }
}

TEST(StatusPage, CompiledInWhole) {
  // The generator replaces @NAME@ only; the page's own @media must survive, and so must every semicolon.
  EXPECT_THAT(std::string(StatusPageHtml()), HasSubstr("@media (prefers-color-scheme: dark) {"));
  EXPECT_THAT(std::string(StatusPageHtml()), HasSubstr("\"use strict\";\n"));
}

}  // namespace
}  // namespace stepback

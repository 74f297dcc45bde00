// The read-only HTTP port: metrics, probes, status page. It knows no engine; what it shows comes through
// callbacks.
//
//   GET /               status page (one file, no outside resources), refreshed from /api/v1/status
//   GET /api/v1/status  JSON
//   GET /metrics        Prometheus text
//   GET /livez          200 while the process answers
//   GET /readyz         200, or 503 with the reason
//   GET /flagz          the effective configuration as YAML
// HEAD works likewise; any other method is 405. It serves plaintext and needs no login: it changes nothing,
// and the kubelet and Prometheus must reach it. Bind it to loopback or to a network of your own. Owned by
// main. Thread: callbacks run on the server's own few threads, several at a time.
//
//   auto http = HttpServer::Start({.host = "127.0.0.1", .port = 0}, {.metrics = [&] { return
//   metrics.Scrape(); }, ...});
//   (*http)->port();
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/http/bound_address.h"

struct mg_context;

namespace stepback {

struct HttpOptions {
  std::string host = "127.0.0.1";  // name, IPv4 or IPv6 address (without brackets)
  int port = 0;                    // 0: any free one
  int threads = 4;                 // requests served at once; further ones wait
};

// A callback left empty makes its path 404, except ready: then the server is ready as soon as it answers.
struct HttpHandlers {
  std::function<std::string()> metrics;
  std::function<absl::Status()> ready;       // not OK: 503 and the message
  std::function<std::string()> status_json;  // see status_page.h for the fields the page shows
  std::function<std::string()> flags_yaml;
};

class HttpServer {
 public:
  // UNAVAILABLE names the host, the port and what the system said (taken, not ours, not permitted).
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const HttpOptions& options, HttpHandlers handlers);
  // Finishes the requests that run, then stops. The callbacks are not called afterwards.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const { return port_; }
  std::string url() const;  // "http://127.0.0.1:7401"

 private:
  struct Callbacks;
  HttpServer(HttpOptions options, HttpHandlers handlers);
  absl::Status Listen();

  const HttpOptions options_;
  const HttpHandlers handlers_;
  const std::thread::id starter_ = std::this_thread::get_id();
  BoundAddress address_;
  std::string start_error_;  // what civetweb logged first while it started
  mg_context* context_ = nullptr;
  int port_ = 0;
};

}  // namespace stepback

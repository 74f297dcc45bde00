#include "server/http/http_response.h"

#include <fmt/format.h>

#include "server/http/status_page.h"

namespace stepback {
namespace {

constexpr char kPlain[] = "text/plain; charset=utf-8";
constexpr char kHtml[] = "text/html; charset=utf-8";
constexpr char kJson[] = "application/json";
constexpr char kYaml[] = "application/yaml; charset=utf-8";
constexpr char kPrometheus[] = "text/plain; version=0.0.4; charset=utf-8";

HttpResponse NotFound(std::string_view path) {
  return {404, kPlain,
          fmt::format("no '{}' here; there is /, /metrics, /livez, /readyz, /flagz, /api/v1/status\n", path)};
}

HttpResponse From(const std::function<std::string()>& text, const char* content_type, std::string_view path) {
  return text ? HttpResponse{200, content_type, text()} : NotFound(path);
}

HttpResponse Ready(const std::function<absl::Status()>& ready) {
  const absl::Status status = ready ? ready() : absl::OkStatus();
  if (status.ok()) return {200, kPlain, "ready\n"};
  return {503, kPlain, fmt::format("not ready: {}\n", std::string(status.message()))};
}

std::string_view Reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 503:
      return "Service Unavailable";
    default:
      return "Internal Server Error";
  }
}

}  // namespace

HttpResponse Answer(const HttpHandlers& handlers, const HttpRequest& request) {
  if (request.method != "GET" && request.method != "HEAD") {
    return {405, kPlain, "this port is read-only: GET and HEAD\n"};
  }
  const std::string_view path = request.path;
  if (path == "/") return {200, kHtml, std::string(StatusPageHtml())};
  if (path == "/metrics") return From(handlers.metrics, kPrometheus, path);
  if (path == "/livez") return {200, kPlain, "alive\n"};
  if (path == "/readyz") return Ready(handlers.ready);
  if (path == "/flagz") return From(handlers.flags_yaml, kYaml, path);
  if (path == "/api/v1/status") return From(handlers.status_json, kJson, path);
  return NotFound(path);
}

// The page's script and style are inline and it fetches from here only; nothing may be framed, cached or
// sniffed.
std::string ResponseHead(const HttpResponse& response) {
  return fmt::format(
      "HTTP/1.1 {} {}\r\n"
      "Content-Type: {}\r\n"
      "Content-Length: {}\r\n"
      "{}"
      "Cache-Control: no-store\r\n"
      "X-Content-Type-Options: nosniff\r\n"
      "Content-Security-Policy: default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
      "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
      "Connection: close\r\n\r\n",
      response.status, Reason(response.status), response.content_type, response.body.size(),
      response.status == 405 ? "Allow: GET, HEAD\r\n" : "");
}

}  // namespace stepback

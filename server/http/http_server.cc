#include "server/http/http_server.h"

#include <civetweb.h>
#include <fmt/format.h>

#include <exception>
#include <string>
#include <utility>

#include "server/base/status_macros.h"
#include "server/http/http_response.h"
#include "server/http/listener_nudge.h"
#include "server/telemetry/log.h"

namespace stepback {
namespace {

HttpServer* ServerOf(const mg_connection* connection) {
  return static_cast<HttpServer*>(mg_get_user_data(mg_get_context(connection)));
}

HttpResponse AnswerSafely(const HttpHandlers& handlers, const HttpRequest& request) {
  try {
    return Answer(handlers, request);
  } catch (const std::exception& error) {  // must not travel through civetweb's C frames
    Log(LogLevel::kError, "http_handler_failed", {{"path", request.path}, {"error", error.what()}});
    return {.status = 500, .content_type = "text/plain; charset=utf-8", .body = "internal error\n"};
  }
}

}  // namespace

// What civetweb calls back.
struct HttpServer::Callbacks {
  static int OnRequest(mg_connection* connection) {
    const mg_request_info* info = mg_get_request_info(connection);
    const HttpRequest request{info->request_method, info->local_uri == nullptr ? "" : info->local_uri};
    const HttpResponse response = AnswerSafely(ServerOf(connection)->handlers_, request);
    const std::string head = ResponseHead(response);
    mg_write(connection, head.data(), head.size());
    if (request.method != "HEAD") mg_write(connection, response.body.data(), response.body.size());
    return response.status;
  }

  static int OnLog(const mg_connection* connection, const char* message) {
    // Only the starting thread's: requests may fail before Start has returned.
    HttpServer* server = ServerOf(connection);
    const bool starting = server != nullptr && server->starter_ == std::this_thread::get_id();
    if (starting && server->start_error_.empty()) server->start_error_ = message;
    LogExternal(LogLevel::kDebug, "http", message);
    return 1;
  }
};

HttpServer::HttpServer(HttpOptions options, HttpHandlers handlers)
    : options_(std::move(options)), handlers_(std::move(handlers)) {
  mg_init_library(0);
}

HttpServer::~HttpServer() {
  if (context_ != nullptr) {
    const ListenerNudge nudge(address_);
    mg_stop(context_);
  }
  mg_exit_library();
}

absl::Status HttpServer::Listen() {
  ASSIGN_OR_RETURN(address_, ResolveBoundAddress(options_.host, options_.port));
  if (address_.socket_address.ss_family == AF_INET6 && mg_check_feature(MG_FEATURES_IPV6) == 0) {
    return absl::UnavailableError(
        fmt::format("http: cannot listen on {}: this build of civetweb has no IPv6; use an IPv4 address",
                    address_.ToString()));
  }
  const std::string listen = address_.ToString();
  const std::string threads = fmt::format("{}", options_.threads);
  // A silent client is cut off after five seconds: it holds one of the few threads that also answer the
  // probes.
  const char* settings[] = {
      "listening_ports",   listen.c_str(), "num_threads", threads.c_str(), "request_timeout_ms", "5000",
      "enable_keep_alive", "no",           nullptr};
  mg_callbacks callbacks{};
  callbacks.begin_request = Callbacks::OnRequest;
  callbacks.log_message = Callbacks::OnLog;
  char reason[256] = "";
  mg_init_data init{&callbacks, this, settings};
  mg_error_data error{nullptr, reason, sizeof(reason)};
  context_ = mg_start2(&init, &error);
  if (context_ == nullptr) {
    return absl::UnavailableError(fmt::format("http: cannot listen on {}:{}: {}", options_.host,
                                              options_.port,
                                              start_error_.empty() ? reason : start_error_.c_str()));
  }
  mg_server_port bound{};
  if (mg_get_server_ports(context_, 1, &bound) < 1) {
    return absl::InternalError(fmt::format("http: no port is bound on {}:{}", options_.host, options_.port));
  }
  port_ = bound.port;
  address_.SetPort(port_);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const HttpOptions& options,
                                                              HttpHandlers handlers) {
  std::unique_ptr<HttpServer> server(new HttpServer(options, std::move(handlers)));
  RETURN_IF_ERROR(server->Listen());
  return server;
}

std::string HttpServer::url() const {
  const bool v6 = options_.host.find(':') != std::string::npos;
  return v6 ? fmt::format("http://[{}]:{}", options_.host, port_)
            : fmt::format("http://{}:{}", options_.host, port_);
}

}  // namespace stepback

// From a request to its answer, without a socket: the paths, methods and headers of the HTTP port. Thread:
// any.
#pragma once

#include <string>
#include <string_view>

#include "server/http/http_server.h"

namespace stepback {

struct HttpRequest {
  std::string_view method;
  std::string_view path;  // decoded, without the query
};

struct HttpResponse {
  int status = 200;
  std::string content_type;
  std::string body;
};

HttpResponse Answer(const HttpHandlers& handlers, const HttpRequest& request);

// Status line and headers, to the empty line.
std::string ResponseHead(const HttpResponse& response);

}  // namespace stepback

// What the status page shows, as JSON (server/http/status_page.h lists the fields). Thread: any that may
// wait: the sessions come from the engine's threads, and a model that does not answer within two seconds is
// shown without them.
#pragma once

#include <string>

#include "server/rpc/service_context.h"

namespace stepback {

struct ServerStatus {
  bool ready = false;
  std::string grpc_address;
};

std::string StatusJson(const ServiceContext& context, const ServerStatus& status);

}  // namespace stepback

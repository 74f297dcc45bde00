// Why an address cannot be listened on, in the system's words: gRPC only says that it could not. Thread: any.
#pragma once

#include <string>

#include "server/config/listen_address.h"

namespace stepback {

// "Address already in use", "Permission denied", "Cannot assign requested address", ...; a general phrase
// when the address can be bound by now.
std::string WhyNotBindable(const ListenAddress& address);

}  // namespace stepback

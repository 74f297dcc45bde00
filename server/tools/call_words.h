// A logged call (durable.proto, LoggedCall) in words, for people who look at a log.
#pragma once

#include <string>

#include "server/store/log_entry.h"

namespace stepback {

// "push", "open", ...; "type 17" for one that this program does not know.
std::string CallName(const LogRecord& record);
// What the frame does not say: "delta of 1.5, fp32, 64 samples" or "ends w0, w1". "" when there is nothing
// more, "not a call" when the body does not say what its type promises.
std::string CallDetails(const LogRecord& record);

}  // namespace stepback

#include "client/cpp/unary.h"

#include <fmt/format.h>

#include "client/cpp/message.h"

namespace stepback::client {

absl::Status CallUnary(Transport* transport, const std::string& method,
                       const google::protobuf::MessageLite& request, google::protobuf::MessageLite* response,
                       const CallLimits& limits, Interrupt* interrupt) {
  std::unique_ptr<Stream> stream = transport->Open(method, limits, interrupt);
  stream->Write({.head = request.SerializeAsString()}, /*last=*/true);
  bool answered = false;
  for (;;) {
    Event event = stream->Next();
    if (event.kind == Event::Kind::kEnd) {
      if (!event.status.ok() || answered) return event.status;
      return absl::InternalError(fmt::format("{}: ended without a response", method));
    }
    if (event.kind == Event::Kind::kMessage) {
      RETURN_IF_ERROR(ParseMessage(event.message, response));
      answered = true;
    }
  }
}

}  // namespace stepback::client

#include "server/rpc/bind_probe.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace stepback {
namespace {

// Tries what a server does, without keeping it.
int BindError(const addrinfo& candidate) {
  const int fd = socket(candidate.ai_family, SOCK_STREAM, 0);
  if (fd < 0) return errno;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const bool bound = bind(fd, candidate.ai_addr, candidate.ai_addrlen) == 0 && listen(fd, 1) == 0;
  const int error = bound ? 0 : errno;
  close(fd);
  return error;
}

}  // namespace

std::string WhyNotBindable(const ListenAddress& address) {
  if (address.is_unix()) return "the socket path cannot be used";
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int lookup = getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
  if (lookup != 0) return gai_strerror(lookup);
  int error = 0;
  for (const addrinfo* a = found; a != nullptr && error == 0; a = a->ai_next) error = BindError(*a);
  freeaddrinfo(found);
  return error != 0 ? std::strerror(error) : "the address could not be bound a moment ago";
}

}  // namespace stepback

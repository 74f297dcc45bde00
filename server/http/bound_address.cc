#include "server/http/bound_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>

#include <cstring>

namespace stepback {

void BoundAddress::SetPort(int port) {
  const in_port_t network_order = htons(static_cast<uint16_t>(port));
  if (socket_address.ss_family == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(&socket_address)->sin6_port = network_order;
  } else {
    reinterpret_cast<sockaddr_in*>(&socket_address)->sin_port = network_order;
  }
}

std::string BoundAddress::ToString() const {
  char host[NI_MAXHOST] = "", port[NI_MAXSERV] = "";
  getnameinfo(generic(), bytes, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
  return socket_address.ss_family == AF_INET6 ? fmt::format("[{}]:{}", host, port)
                                              : fmt::format("{}:{}", host, port);
}

absl::StatusOr<BoundAddress> ResolveBoundAddress(const std::string& host, int port) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_flags = AI_PASSIVE;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_family = host == "localhost" ? AF_INET : AF_UNSPEC;
  if (const int error = getaddrinfo(host.c_str(), nullptr, &hints, &found); error != 0) {
    return absl::UnavailableError(
        fmt::format("http: cannot listen on {}:{}: {}", host, port, gai_strerror(error)));
  }
  BoundAddress address{{}, found->ai_addrlen};
  std::memcpy(&address.socket_address, found->ai_addr, found->ai_addrlen);
  freeaddrinfo(found);
  address.SetPort(port);
  return address;
}

}  // namespace stepback

#include "tests/bench/w100m/socket_transfer.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "tests/bench/w100m/child.h"

namespace stepback::bench {
namespace {

sockaddr_in Loopback(int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

}  // namespace

int ListenOnLoopback(int* port) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof address;
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(listener, 64) != 0 ||
      getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    Die("cannot listen on loopback");
  }
  *port = ntohs(address.sin_port);
  return listener;
}

int ConnectToLoopback(int port) {
  const int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = Loopback(port);
  if (connect(connection, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    Die("cannot connect to loopback");
  }
  const int on = 1;
  setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return connection;
}

bool ReceiveAll(int socket, void* to, uint64_t bytes) {
  auto* at = static_cast<char*>(to);
  for (uint64_t done = 0; done < bytes;) {
    const ssize_t got = recv(socket, at + done, std::min<uint64_t>(kSocketPiece, bytes - done), 0);
    if (got == 0 && done == 0) return false;
    if (got <= 0) Die("a socket broke");
    done += static_cast<uint64_t>(got);
  }
  return true;
}

void SendAll(int socket, const void* from, uint64_t bytes) {
  const auto* at = static_cast<const char*>(from);
  for (uint64_t done = 0; done < bytes;) {
    const ssize_t sent =
        send(socket, at + done, std::min<uint64_t>(kSocketPiece, bytes - done), MSG_NOSIGNAL);
    if (sent <= 0) Die("a socket broke");
    done += static_cast<uint64_t>(sent);
  }
}

}  // namespace stepback::bench

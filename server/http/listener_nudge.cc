#include "server/http/listener_nudge.h"

#include <unistd.h>

#include <chrono>

namespace stepback {
namespace {

void Knock(const BoundAddress& address) {
  const int fd = socket(address.socket_address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  (void)connect(fd, address.generic(), address.bytes);
  close(fd);
}

}  // namespace

ListenerNudge::ListenerNudge(const BoundAddress& address)
    : thread_([this, address] {
        while (!done_.load()) {
          Knock(address);
          std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
      }) {}

ListenerNudge::~ListenerNudge() {
  done_.store(true);
  thread_.join();
}

}  // namespace stepback

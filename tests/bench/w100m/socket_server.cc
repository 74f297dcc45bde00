#include "tests/bench/w100m/socket_server.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <thread>
#include <vector>

#include "tests/bench/w100m/socket_transfer.h"

namespace stepback::bench {
namespace {

void Swallow(int connection, uint64_t bytes, std::vector<char>* buffer) {
  for (uint64_t left = bytes; left > 0;) {
    const uint64_t piece = std::min<uint64_t>(left, buffer->size());
    ReceiveAll(connection, buffer->data(), piece);
    left -= piece;
  }
}

void Serve(int connection, const std::vector<float>& weights) {
  const uint64_t bytes = weights.size() * sizeof(float);
  std::vector<char> buffer(kSocketPiece);
  for (char operation = 0; ReceiveAll(connection, &operation, 1);) {
    if (operation == 'P') {
      Swallow(connection, bytes, &buffer);
      SendAll(connection, "k", 1);
    } else {
      SendAll(connection, weights.data(), bytes);
    }
  }
  close(connection);
}

}  // namespace

int RunSocketServer(const Options& options) {
  int port = 0;
  const int listener = ListenOnLoopback(&port);
  const std::vector<float> weights(options.parameters, 1.0f);
  fmt::print("{}\n", port);
  std::fflush(stdout);
  for (;;) {
    const int connection = accept(listener, nullptr, nullptr);
    std::thread([connection, &weights] { Serve(connection, weights); }).detach();
  }
}

}  // namespace stepback::bench

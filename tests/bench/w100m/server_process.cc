#include "tests/bench/w100m/server_process.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

namespace stepback::bench {
namespace {

std::string PortFile() {
  std::string path = "/tmp/bm_w100m-XXXXXX";
  const int fd = mkstemp(path.data());
  if (fd < 0) Die("cannot make a file in /tmp");
  close(fd);
  return path;
}

}  // namespace

ServerProcess::ServerProcess(const std::string& program)
    : port_file_(PortFile()),
      child_({program, "--listen", "127.0.0.1:0", "--http-listen", "", "--log-level", "error", "--port-file",
              port_file_},
             /*piped=*/false) {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (std::chrono::steady_clock::now() < give_up) {
    std::ifstream file(port_file_);
    const auto ports = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
    if (ports.is_object() && ports.contains("grpc")) {
      address_ = fmt::format("127.0.0.1:{}", ports["grpc"].get<int>());
      return;
    }
    if (kill(child_.pid(), 0) != 0) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  Die(fmt::format("'{}' does not serve", program));
}

ServerProcess::~ServerProcess() {
  child_.Stop();
  unlink(port_file_.c_str());
}

}  // namespace stepback::bench

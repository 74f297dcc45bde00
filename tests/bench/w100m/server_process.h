// A stepbackd of our own on a free loopback port.
#pragma once

#include <string>

#include "tests/bench/w100m/child.h"

namespace stepback::bench {

class ServerProcess {
 public:
  // Waits until it serves. Ends this process when it does not.
  explicit ServerProcess(const std::string& program);
  ~ServerProcess();

  const std::string& address() const { return address_; }
  pid_t pid() const { return child_.pid(); }

 private:
  std::string port_file_;
  Child child_;
  std::string address_;
};

}  // namespace stepback::bench

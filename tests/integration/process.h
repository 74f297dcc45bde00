// A program started by a test: its exit code, its output, signals to it. Killed when it goes out of scope.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

namespace stepback {

class Process {
 public:
  // Output and errors go to `log_file`.
  Process(const std::vector<std::string>& arguments, const std::string& log_file);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void Signal(int signal) const;
  // The exit code, or 128 + signal; nothing while it runs.
  std::optional<int> Poll();
  // The exit code; -1 when it does not end within 60 seconds.
  int Wait();

 private:
  pid_t pid_;
  std::optional<int> code_;
};

}  // namespace stepback

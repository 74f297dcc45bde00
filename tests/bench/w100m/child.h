// A child process that takes one-line commands and answers each with one line.
//
//   Child child({"/proc/self/exe", "--role", "worker"});
//   child.Send("push");
//   std::string seconds = child.Receive();
#pragma once

#include <sys/types.h>

#include <cstdio>
#include <string>
#include <vector>

namespace stepback::bench {

class Child {
 public:
  // Ends this process when the child cannot be started. `piped` false: it keeps our input and output.
  explicit Child(const std::vector<std::string>& arguments, bool piped = true);
  // Kills a child that still runs.
  ~Child();
  Child(Child&& other) noexcept;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void Send(const std::string& line);
  // Ends this process when the child has ended.
  std::string Receive();
  // SIGTERM, then waits; the exit status, or 128 + signal.
  int Stop();
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  FILE* to_ = nullptr;
  FILE* from_ = nullptr;
};

// Ends the process with a message.
[[noreturn]] void Die(const std::string& message);

}  // namespace stepback::bench

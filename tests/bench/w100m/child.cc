#include "tests/bench/w100m/child.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

namespace stepback::bench {

void Die(const std::string& message) {
  fmt::print(stderr, "bm_w100m: {}\n", message);
  std::exit(1);
}

Child::Child(const std::vector<std::string>& arguments, bool piped) {
  int down[2] = {-1, -1}, up[2] = {-1, -1};
  if (piped && (pipe2(down, O_CLOEXEC) != 0 || pipe2(up, O_CLOEXEC) != 0)) Die("no pipe");
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  pid_ = fork();
  if (pid_ < 0) Die("cannot fork");
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // never outlives the benchmark
    if (piped) {
      dup2(down[0], STDIN_FILENO);
      dup2(up[1], STDOUT_FILENO);
    }
    execv(argv[0], argv.data());
    _exit(127);
  }
  if (!piped) return;
  close(down[0]);
  close(up[1]);
  to_ = fdopen(down[1], "w");
  from_ = fdopen(up[0], "r");
}

Child::Child(Child&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      to_(std::exchange(other.to_, nullptr)),
      from_(std::exchange(other.from_, nullptr)) {}

Child::~Child() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  if (to_ != nullptr) fclose(to_);
  if (from_ != nullptr) fclose(from_);
}

void Child::Send(const std::string& line) {
  std::fprintf(to_, "%s\n", line.c_str());
  std::fflush(to_);
}

std::string Child::Receive() {
  char* line = nullptr;
  size_t size = 0;
  const ssize_t length = getline(&line, &size, from_);
  if (length <= 0) Die(fmt::format("a child process ({}) has ended", pid_));
  std::string out(line, static_cast<size_t>(length) - 1);
  std::free(line);
  return out;
}

int Child::Stop() {
  kill(pid_, SIGTERM);
  int status = 0;
  waitpid(std::exchange(pid_, -1), &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace stepback::bench

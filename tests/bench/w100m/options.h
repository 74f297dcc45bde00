// What a run measures. Every process of the benchmark gets the same options.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace stepback::bench {

struct Options {
  uint64_t parameters = 100'000'000;
  std::vector<uint32_t> workers = {1, 2, 4};
  int rounds = 5;
  int warmup_rounds = 1;
  std::string server;     // the stepbackd to start; empty: beside this program
  std::string json_file;  // empty: none

  // Of a child process.
  std::string role;  // "": the driver; "worker", "sockets"
  std::string address;
  std::string model;
  uint32_t index = 0;
  int socket_port = 0;
};

// Ends the process on bad usage.
Options ParseOptions(int argc, char** argv);

}  // namespace stepback::bench

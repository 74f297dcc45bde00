#include "tests/bench/w100m/worker.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>

#include "tests/bench/w100m/child.h"
#include "tests/bench/w100m/socket_transfer.h"
#include "tests/bench/w100m/workload.h"

namespace stepback::bench {
namespace {

template <typename T>
T OrDie(absl::StatusOr<T> result) {
  if (!result.ok()) Die(std::string(result.status().message()));
  return *std::move(result);
}

class BenchWorker {
 public:
  explicit BenchWorker(const Options& options)
      : server_(OrDie(client::Server::Connect({.address = options.address}))),
        model_(OrDie(server_->OpenModel(options.model))),
        worker_(OrDie(model_.Join(fmt::format("worker-{}", options.index)))),
        gradient_(OrDie(client::TensorBuffers::Make(model_.tensors()))),
        weights_(OrDie(client::TensorBuffers::Make(model_.tensors()))),
        socket_(ConnectToLoopback(options.socket_port)) {
    FillGradient(options.index, &gradient_);
    OrDie(worker_->Pull(weights_.sinks()));
  }

  void Do(const std::string& command) {
    if (command == "push") OrDie(worker_->PushGradient(gradient_.data()));
    if (command == "pull") OrDie(worker_->Pull(weights_.sinks()));
    if (command == "socket-push") SocketPush();
    if (command == "socket-pull") SocketPull();
    if (command == "close" && !worker_->Close().ok()) Die("cannot close the session");
  }

 private:
  void SocketPush() {
    SendAll(socket_, "P", 1);
    for (const client::TensorData& tensor : gradient_.data()) SendAll(socket_, tensor.data, tensor.bytes);
    char answer = 0;
    if (!ReceiveAll(socket_, &answer, 1)) Die("the socket server has ended");
  }
  void SocketPull() {
    SendAll(socket_, "G", 1);
    for (const client::TensorSink& tensor : weights_.sinks()) ReceiveAll(socket_, tensor.data, tensor.bytes);
  }

  std::shared_ptr<client::Server> server_;
  client::Model model_;
  std::unique_ptr<client::Worker> worker_;
  client::TensorBuffers gradient_;
  client::TensorBuffers weights_;
  int socket_;
};

}  // namespace

int RunWorker(const Options& options) {
  BenchWorker worker(options);
  fmt::print("ready\n");
  std::fflush(stdout);
  for (std::string command; std::getline(std::cin, command);) {
    const auto begin = std::chrono::steady_clock::now();
    worker.Do(command);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    fmt::print("{:.6f}\n", seconds.count());
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace stepback::bench

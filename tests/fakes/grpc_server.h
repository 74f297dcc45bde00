// The fake server behind real gRPC, through the generated stubs only: what any other implementation of the
// proto would see of our client. Port 0: the system chooses.
#pragma once

#include <memory>
#include <string>

#include "tests/fakes/training_server.h"

namespace stepback::fakes {

class GrpcServer {
 public:
  explicit GrpcServer(TrainingServer* server);
  ~GrpcServer();
  // Stops listening and cuts every connection; a later Start listens on the same port.
  void Stop();
  void Start();
  std::string address() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace stepback::fakes

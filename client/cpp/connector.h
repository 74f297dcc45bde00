// Where transports come from: one for small calls, a few for large transfers, one of its own for every worker
// (so that a worker's connection can be dropped without disturbing anyone).
#pragma once

#include <memory>

#include "client/cpp/transport.h"

namespace stepback::client {

class Connector {
 public:
  virtual ~Connector() = default;
  virtual std::shared_ptr<Transport> Control() = 0;
  virtual std::shared_ptr<Transport> Bulk() = 0;       // shared, in turn
  virtual std::shared_ptr<Transport> ForWorker() = 0;  // new each time
};

}  // namespace stepback::client

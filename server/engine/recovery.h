// Brings a model back from disk: the newest snapshot that verifies (and, in durability PUSH, the calls that its
// log has since), under a new term that is durable before anybody sees the model. Nothing is ever deleted here;
// what had to be stepped over is logged and counted.
#pragma once

#include <memory>
#include <string>

#include "server/engine/model_worker.h"
#include "server/engine/runtime.h"

namespace stepback {

// NOT_FOUND: no snapshot was ever finished. Anything else: the model is there but cannot be served.
absl::StatusOr<std::shared_ptr<ModelWorker>> RecoverModel(const std::shared_ptr<Runtime>& runtime,
                                                          const std::string& name);

}  // namespace stepback

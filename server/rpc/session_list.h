// The sessions of several models, asked for in parallel and answered together. Thread: any; `done` runs once,
// on the thread that brings the last part.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/engine/engine.h"

namespace stepback {

struct ModelSessions {
  std::shared_ptr<Handle> model;
  std::vector<SessionInfo> sessions;  // empty for a model that went meanwhile
};

// In the order of `models`.
void ListSessionsOf(const std::vector<std::shared_ptr<Handle>>& models,
                    std::function<void(const std::vector<ModelSessions>&)> done);

}  // namespace stepback

#include "server/rpc/session_list.h"

#include <atomic>

namespace stepback {
namespace {

struct Gathering {
  std::vector<ModelSessions> parts;  // each written by one answer only
  std::atomic<size_t> missing;
  std::function<void(const std::vector<ModelSessions>&)> done;
};

void Add(const std::shared_ptr<Gathering>& gathering, size_t part,
         absl::StatusOr<std::vector<SessionInfo>> sessions) {
  if (sessions.ok()) gathering->parts[part].sessions = *std::move(sessions);
  if (gathering->missing.fetch_sub(1) == 1) gathering->done(gathering->parts);
}

}  // namespace

void ListSessionsOf(const std::vector<std::shared_ptr<Handle>>& models,
                    std::function<void(const std::vector<ModelSessions>&)> done) {
  if (models.empty()) return done({});
  const auto gathering = std::make_shared<Gathering>();
  gathering->missing = models.size();
  gathering->done = std::move(done);
  for (const auto& model : models) gathering->parts.push_back({model, {}});
  for (size_t i = 0; i < models.size(); ++i) {
    models[i]->Sessions([gathering, i](absl::StatusOr<std::vector<SessionInfo>> sessions) {
      Add(gathering, i, std::move(sessions));
    });
  }
}

}  // namespace stepback

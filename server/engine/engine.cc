#include "server/engine/engine.h"

#include <utility>

#include "server/base/status_macros.h"
#include "server/engine/registry.h"
#include "server/engine/runtime.h"

namespace stepback {
namespace {

class EngineImpl final : public Engine {
 public:
  explicit EngineImpl(std::shared_ptr<Runtime> runtime)
      : runtime_(std::move(runtime)), registry_(std::make_shared<Registry>(runtime_)) {}
  ~EngineImpl() override { registry_->Stop(); }

  absl::Status Recover() { return registry_->Recover(); }

  absl::StatusOr<std::unique_ptr<CreateUpload>> StartCreate(ModelSpec spec, bool zeros, int codec,
                                                            uint64_t total_bytes) override {
    return registry_->StartCreate(std::move(spec), zeros, codec, total_bytes);
  }
  absl::StatusOr<std::shared_ptr<Handle>> Find(const std::string& name) override {
    return registry_->Find(name);
  }
  std::vector<std::shared_ptr<Handle>> List() override { return registry_->List(); }
  void Delete(const std::string& name, std::function<void(absl::Status)> done) override {
    registry_->Delete(name, std::move(done));
  }
  void Drain(std::function<void(absl::Status)> done) override { registry_->Drain(std::move(done)); }
  bool draining() const override { return registry_->draining(); }
  void Tick() override { runtime_->timers()->RunDue(); }
  kernels::Backend* backend() override { return runtime_->backend(); }
  bool RunOne(const std::function<size_t(size_t)>& pick) override { return runtime_->RunOne(pick); }

 private:
  const std::shared_ptr<Runtime> runtime_;
  const std::shared_ptr<Registry> registry_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Start(Options options) {
  ASSIGN_OR_RETURN(std::shared_ptr<Runtime> runtime, Runtime::Make(std::move(options)));
  auto engine = std::make_unique<EngineImpl>(std::move(runtime));
  RETURN_IF_ERROR(engine->Recover());
  return engine;
}

}  // namespace stepback

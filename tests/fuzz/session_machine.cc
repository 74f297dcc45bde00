// Any sequence of calls on a model: sessions, pushes with any number, epoch and base, time.
#include "kernels/executor.h"
#include "server/core/model.h"
#include "server/core/spec_check.h"
#include "tests/fuzz/input.h"

using namespace stepback;  // NOLINT

namespace {

constexpr uint64_t kElements = 4;

std::unique_ptr<Model> MakeModel(fuzz::Input* input, kernels::Backend* backend, kernels::Executor* executor) {
  ModelSpec spec{.name = "m", .tensors = {{.name = "w", .shape = {kElements}}}};
  spec.outer = {.name = "average", .values = {{"alpha", 1}}};
  spec.rounds.policy = static_cast<RoundPolicy>(1 + input->Byte() % 3);
  spec.rounds.buffer_pushes = 1 + input->Byte() % 4;
  spec.rounds.quorum = 1 + input->Byte() % 3;
  spec.rounds.deadline_seconds = input->Byte() % 4;
  const uint8_t life = input->Byte();
  spec.lease_seconds = 1 + life % 8;
  spec.quarantine = {.after = life / 8u % 4u, .seconds = 1.0 + life / 32u};
  FUZZ_CHECK(ValidateSpec(spec).ok(), ValidateSpec(spec).ToString());
  const auto layout = Layout::Make(spec.tensors);
  std::unique_ptr<kernels::Buffer> weights = backend->Allocate((*layout)->arena_floats() * sizeof(float));
  backend->Zero(weights.get());
  auto model = Model::Create(std::make_shared<const ModelSpec>(spec), *layout, std::move(weights),
                             {backend, executor});
  FUZZ_CHECK(model.ok(), model.status().ToString());
  return *std::move(model);
}

Push MakePush(fuzz::Input* input, const std::string& client, const Version& now) {
  Push push;
  push.header.client_id = client;
  push.header.epoch = input->Byte() % 8;
  push.header.sequence = input->Byte() % 16;
  push.header.base = {.term = now.term - input->Byte() % 2, .counter = now.counter + 2 - input->Byte() % 5};
  push.header.samples = input->Byte();
  push.finite = input->Byte() % 16 != 0;
  const auto bytes = std::make_shared<std::vector<std::byte>>(kElements * sizeof(float));
  push.payload.Append({bytes->data(), bytes->size()}, bytes);
  return push;
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::unique_ptr<kernels::Backend> backend = kernels::MakeCpuBackend("generic");
  static kernels::InlineExecutor executor;
  fuzz::Input input(data, size);
  const std::unique_ptr<Model> model = MakeModel(&input, backend.get(), &executor);
  TimePoint now{std::chrono::hours(1)};
  Version seen = model->current()->version;
  while (!input.empty()) {
    const std::string client = std::string("c") + std::to_string(input.Byte() % 3);
    switch (input.Byte() % 6) {
      case 0: {
        const auto role = static_cast<SessionRole>(1 + input.Byte() % 2);
        model->Open({.client_id = client, .role = role, .attach = input.Byte() % 2 == 0}, now)
            .status()
            .IgnoreError();
        break;
      }
      case 1:
        model->Close(client, input.Byte() % 8, now).status().IgnoreError();
        break;
      case 2:
        model->Heartbeat(client, input.Byte() % 8, {}, now).IgnoreError();
        break;
      case 3:
        now += std::chrono::milliseconds(input.Word());
        model->Tick(now);
        break;
      case 4:
        model->Evict(client, now).status().IgnoreError();
        break;
      case 5:
        model->Apply(MakePush(&input, client, seen), now);
        break;
    }
    FUZZ_CHECK(!(model->current()->version < seen), "the version went back");
    seen = model->current()->version;
  }
  return 0;
}

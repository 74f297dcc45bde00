// The smallest trainer: two steps of "gradient descent" on a model of four numbers, with nothing but the installed
// package. Usage: consumer ADDRESS
#include <stepback/client.h>

#include <iostream>

using namespace stepback::client;

namespace {

absl::Status Train(const std::string& address) {
  auto server = Server::Connect({.address = address});
  if (!server.ok()) return server.status();
  ModelDefinition definition{.name = "consumer", .tensors = {{"w", {4}}}};
  definition.outer = Rule{"average", {{"alpha", 1.0}}};
  auto model = (*server)->CreateModel(definition, {});
  if (!model.ok()) return model.status();
  auto weights = TensorBuffers::Make(model->tensors());
  auto worker = model->Join("consumer-0");
  if (!weights.ok() || !worker.ok()) return absl::UnknownError("no buffers or no worker");
  if (auto pulled = (*worker)->Pull(weights->sinks()); !pulled.ok()) return pulled.status();
  const float start = weights->floats(0)[3];
  for (int i = 0; i < 2; ++i) {
    for (float& w : weights->floats(0)) w += 1.5f;
    if (auto step = (*worker)->Step(weights->data(), weights->sinks()); !step.ok()) return step.status();
  }
  if (weights->floats(0)[3] != start + 3.0f) return absl::InternalError("the weights are wrong");
  std::cout << "version " << (*worker)->base_version().ToString() << "\n";
  const absl::Status missing = (*server)->OpenModel("nobody").status();
  if (ErrorReason(missing) != "MODEL_NOT_FOUND") return missing;
  return (*worker)->Close();
}

}  // namespace

int main(int argc, char** argv) {
  const absl::Status status = argc == 2 ? Train(argv[1]) : absl::InvalidArgumentError("usage: consumer ADDRESS");
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? 0 : 1;
}

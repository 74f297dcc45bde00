// Stands in for the CUDA back-end in builds without it.
#include "kernels/backend.h"

namespace stepback::kernels {

std::unique_ptr<Backend> MakeCudaBackend(int /*device*/, std::string* error) {
  if (error != nullptr) *error = "this build has no CUDA back-end (configure with STEPBACK_CUDA=ON)";
  return nullptr;
}

}  // namespace stepback::kernels

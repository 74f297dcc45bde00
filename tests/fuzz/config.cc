// The configuration file.
#include "server/config/assignment.h"
#include "tests/fuzz/input.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  stepback::Assigned assigned;
  stepback::AssignFromYaml(std::string(reinterpret_cast<const char*>(data), size), "stepbackd.yaml",
                           &assigned)
      .IgnoreError();
  return 0;
}

// Method and path of the HTTP port.
#include "server/http/http_response.h"
#include "tests/fuzz/input.h"

using namespace stepback;  // NOLINT

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const std::string method = input.Byte() % 2 == 0 ? "GET" : input.Bytes(8);
  const std::string path = input.Rest();
  const HttpResponse response = Answer({.metrics = [] { return std::string("m"); }}, {method, path});
  FUZZ_CHECK(response.status >= 200 && response.status < 600, path);
  FUZZ_CHECK(ResponseHead(response).ends_with("\r\n\r\n"), path);
  return 0;
}

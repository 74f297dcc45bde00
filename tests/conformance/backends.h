// What parameterised suites share: the back-ends of this machine as parameters, with names gtest accepts.
#pragma once

#include <gtest/gtest.h>

#include <cctype>
#include <string>

#include "tests/conformance/scenario.h"

namespace stepback::kernels::testing {

inline std::string TestName(std::string name) {
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

class BackendTest : public ::testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Backend> backend_ = MakeBackend(GetParam());
  InlineExecutor inline_;
};

// INSTANTIATE_FOR_BACKENDS(Suite): Suite derives from BackendTest.
#define INSTANTIATE_FOR_BACKENDS(Suite)                                    \
  INSTANTIATE_TEST_SUITE_P(On, Suite, ::testing::ValuesIn(BackendNames()), \
                           [](const auto& info) { return TestName(info.param); })

}  // namespace stepback::kernels::testing

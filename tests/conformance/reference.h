// The commit written as plainly as possible: one element at a time, no blocks, no vectors, no shared code
// with the back-ends but the rules' own Step and Merge. Back-ends must give these bits.
#pragma once

#include "tests/conformance/scenario.h"

namespace stepback::kernels::testing {

Outcome RunReference(const Scenario& scenario);

}  // namespace stepback::kernels::testing

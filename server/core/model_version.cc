#include "server/core/model_version.h"

#include <algorithm>

namespace stepback {

uint64_t SyncsOf(const ModelVersion& version) {
  if (version.fragments.empty()) return version.outer_steps;
  const auto steps = [](const FragmentState& a, const FragmentState& b) {
    return a.outer_steps < b.outer_steps;
  };
  return std::min_element(version.fragments.begin(), version.fragments.end(), steps)->outer_steps;
}

void MarkFragmentsChanged(ModelVersion* version) {
  for (FragmentState& fragment : version->fragments) fragment.version = version->version;
}

}  // namespace stepback

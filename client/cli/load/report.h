// A load run as text and as JSON (schema_version 1; docs/cli.md).
#pragma once

#include <string>
#include <vector>

#include "client/cli/context.h"
#include "client/cli/load/assertion.h"
#include "client/cli/load/load_options.h"
#include "client/cli/load/load_result.h"

namespace stepback::cli {

Json LoadJson(const LoadOptions& options, const LoadResult& result, const std::vector<Assertion>& assertions,
              const std::string& address);
std::string LoadText(const LoadOptions& options, const LoadResult& result,
                     const std::vector<Assertion>& assertions);

}  // namespace stepback::cli

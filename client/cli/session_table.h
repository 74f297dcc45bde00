// Sessions as a table: `session list` and `top`.
#pragma once

#include <vector>

#include "client/cli/table.h"
#include "stepback/info.h"

namespace stepback::cli {

Table SessionTable(const std::vector<client::SessionInfo>& sessions);

}  // namespace stepback::cli

// A Config as text: for `config print`, /flagz, deploy/stepbackd.yaml and docs/configuration.md. Thread: any.
#pragma once

#include <string>

#include "server/config/config.h"

namespace stepback {

// YAML that reads back to the same Config; secrets are shown as "<redacted>".
std::string ConfigYaml(const Config& config);

// The defaults as YAML, each with its meaning, values, flag and environment variable as a comment.
std::string CommentedDefaultsYaml();

// All settings as a Markdown table, as it stands in docs/configuration.md.
std::string SettingsMarkdown();

}  // namespace stepback

// One row per thing that can be set. Flags, environment, file, --help, `config print`, the shipped
// stepbackd.yaml and docs/configuration.md all come from these rows; adding a setting is a field in config.h
// and a row in settings.cc. Thread: any; the table never changes.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/config/config.h"

namespace stepback {

// How a setting's value is written. Parse errors name the text and the bound, not the setting.
struct SettingValue {
  std::string accepts;  // "1..65536", "size, at least 2MiB", "true or false"
  std::function<absl::Status(const std::string& text, Config* config)> parse;
  std::function<std::string(const Config& config)> format;
  bool is_text = false;    // quoted in YAML
  bool is_switch = false;  // the flag alone means true
};

struct Setting {
  std::string key;   // "limits.max_models": section.name in the file
  std::string flag;  // "--max-models"
  std::string help;  // one sentence
  SettingValue value;
  bool secret = false;

  std::string EnvName() const;  // "STEPBACK_LIMITS__MAX_MODELS"
  std::string section() const { return key.substr(0, key.find('.')); }
  std::string name() const { return key.substr(key.find('.') + 1); }
  // What may be shown: the value, or "<redacted>" for a secret that is set.
  std::string Shown(const Config& config) const;
};

std::span<const Setting> Settings();

}  // namespace stepback

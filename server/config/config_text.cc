#include "server/config/config_text.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include "server/config/setting.h"

namespace stepback {
namespace {

constexpr char kFileHead[] =
    "# Configuration of stepbackd. Everything here is the default: a setting left out, or this whole file "
    "left out, means\n"
    "# the same. Use it with `stepbackd --config FILE`; check it with `stepbackd config validate --config "
    "FILE`; see what is\n"
    "# in effect with `stepbackd config print` or /flagz. An unknown name stops the server with file and "
    "line.\n"
    "# A flag beats the environment, which beats this file. Sizes: 64KiB, 8MiB, 1GiB; durations: 500ms, 30s, "
    "1h30m.\n";

std::string Quoted(const std::string& text) {
  YAML::Emitter emitter;
  emitter << YAML::DoubleQuoted << text;
  return emitter.c_str();
}

std::string YamlValue(const Setting& setting, const Config& config) {
  const std::string text = setting.Shown(config);
  return setting.value.is_text ? Quoted(text) : text;
}

// `comment` gives the lines above a setting, each with its end of line.
template <typename Comment>
std::string SectionsYaml(const Config& config, const char* between_sections, Comment comment) {
  std::string out, section;
  for (const Setting& setting : Settings()) {
    if (setting.section() != section) {
      section = setting.section();
      out += fmt::format("{}{}:\n", out.empty() ? "" : between_sections, section);
    }
    out += fmt::format("{}  {}: {}\n", comment(setting), setting.name(), YamlValue(setting, config));
  }
  return out;
}

std::string SettingComment(const Setting& setting) {
  return fmt::format("  # {}\n  # {}. {}, {}\n", setting.help, setting.value.accepts, setting.flag,
                     setting.EnvName());
}

}  // namespace

std::string ConfigYaml(const Config& config) {
  return SectionsYaml(config, "", [](const Setting&) { return ""; });
}

std::string CommentedDefaultsYaml() {
  return fmt::format("{}\n{}", kFileHead, SectionsYaml(Config{}, "\n", SettingComment));
}

std::string SettingsMarkdown() {
  std::string out = "| Setting | Flag | Default | Values | Meaning |\n|---|---|---|---|---|\n";
  for (const Setting& setting : Settings()) {
    const std::string value = setting.value.format(Config{});
    out += fmt::format("| `{}` | `{}` | {} | {} | {} |\n", setting.key, setting.flag,
                       value.empty() ? "" : fmt::format("`{}`", value), setting.value.accepts, setting.help);
  }
  return out;
}

}  // namespace stepback

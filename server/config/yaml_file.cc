#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "server/base/status_macros.h"
#include "server/config/assignment.h"
#include "server/config/nearest.h"

namespace stepback {
namespace {

std::string Place(const std::string& file, const YAML::Mark& mark) {
  return mark.is_null() ? file : fmt::format("{}:{}", file, mark.line + 1);
}

const Setting* FindSetting(const std::string& key) {
  const auto settings = Settings();
  const auto it =
      std::find_if(settings.begin(), settings.end(), [&](const Setting& s) { return s.key == key; });
  return it == settings.end() ? nullptr : &*it;
}

std::vector<std::string> KnownKeys() {
  std::vector<std::string> keys;
  for (const Setting& setting : Settings()) keys.push_back(setting.key);
  return keys;
}

std::vector<std::string> KnownSections() {
  std::set<std::string> sections;
  for (const Setting& setting : Settings()) sections.insert(setting.section());
  return {sections.begin(), sections.end()};
}

absl::Status Refuse(const std::string& place, const std::string& what) {
  return absl::InvalidArgumentError(fmt::format("{}: {}", place, what));
}

absl::Status AssignNode(const std::string& file, const std::string& key, const YAML::Node& name,
                        const YAML::Node& value, Assigned* assigned) {
  const std::string place = Place(file, name.Mark());
  const Setting* setting = FindSetting(key);
  if (setting == nullptr)
    return Refuse(place, fmt::format("unknown setting '{}'{}", key, DidYouMean(key, KnownKeys())));
  if (!value.IsScalar())
    return Refuse(place, fmt::format("{} needs one value: {}", key, setting->value.accepts));
  return Assign(*setting, value.Scalar(), fmt::format("{}: {}", place, key), assigned);
}

absl::Status AssignSection(const std::string& file, const YAML::Node& name, const YAML::Node& section,
                           Assigned* assigned) {
  const std::string title = name.IsScalar() ? name.Scalar() : "";
  const auto sections = KnownSections();
  const std::string place = Place(file, name.Mark());
  if (std::find(sections.begin(), sections.end(), title) == sections.end()) {
    auto names = sections;
    for (const std::string& key : KnownKeys()) names.push_back(key);
    return Refuse(place, fmt::format("unknown section '{}'{}", title, DidYouMean(title, names)));
  }
  if (section.IsNull()) return absl::OkStatus();  // all of it is commented out
  if (!section.IsMap()) return Refuse(place, fmt::format("section '{}' needs settings below it", title));
  std::set<std::string> seen;
  for (const auto& entry : section) {
    const std::string key = fmt::format("{}.{}", title, entry.first.IsScalar() ? entry.first.Scalar() : "");
    if (!seen.insert(key).second) {
      return Refuse(Place(file, entry.first.Mark()), fmt::format("'{}' is set twice", key));
    }
    RETURN_IF_ERROR(AssignNode(file, key, entry.first, entry.second, assigned));
  }
  return absl::OkStatus();
}

absl::Status AssignRoot(const std::string& file, const YAML::Node& root, Assigned* assigned) {
  if (root.IsNull()) return absl::OkStatus();
  if (!root.IsMap()) return Refuse(file, "not a list of sections");
  std::set<std::string> seen;
  for (const auto& entry : root) {
    if (entry.first.IsScalar() && !seen.insert(entry.first.Scalar()).second) {
      return Refuse(Place(file, entry.first.Mark()),
                    fmt::format("section '{}' is there twice", entry.first.Scalar()));
    }
    RETURN_IF_ERROR(AssignSection(file, entry.first, entry.second, assigned));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status AssignFromYaml(const std::string& text, const std::string& file_name, Assigned* assigned) {
  try {
    return AssignRoot(file_name, YAML::Load(text), assigned);
  } catch (const YAML::Exception& error) {
    return Refuse(Place(file_name, error.mark), error.msg);
  }
}

absl::Status AssignFromFile(const std::string& path, Assigned* assigned) {
  if (std::filesystem::is_directory(path)) return Refuse(path, "cannot be read: it is a folder");
  std::ifstream file(path);
  if (!file) return Refuse(path, fmt::format("cannot be read: {}", std::strerror(errno)));
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return AssignFromYaml(text, path, assigned);
}

}  // namespace stepback

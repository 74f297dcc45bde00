// The records of a model's event log on a fake disk, for tests.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "server/store/store_paths.h"
#include "server/tools/model_events.h"
#include "tests/unit/engine_fixture.h"

namespace stepback {

using Records = std::vector<v1::EventRecord>;

inline std::string EventDirectory(const std::string& model = "lm") {
  return JoinPath(ModelsDirectory("/data"), *EscapeModelName(model));
}

// Without the settings at the heads of files; nothing may be damaged.
inline Records ReadRecords(FakeFileSystem* disk, const std::string& model = "lm") {
  Records records;
  auto events = ModelEvents::Open(disk, {model, EventDirectory(model)});
  EXPECT_TRUE(events.ok()) << events.status();
  for (v1::EventRecord record; events.ok();) {
    const absl::StatusOr<bool> more = (*events)->Next(&record);
    EXPECT_TRUE(more.ok()) << more.status();
    if (!more.ok() || !*more) break;
    if (record.number() > 0) records.push_back(record);
  }
  EXPECT_TRUE(!events.ok() || (*events)->reader().damaged().empty());
  return records;
}

inline Records Named(const Records& records, const std::string& name) {
  Records named;
  std::copy_if(records.begin(), records.end(), std::back_inserter(named),
               [&](const v1::EventRecord& record) { return record.name() == name; });
  return named;
}

inline std::map<std::string, std::string> Fields(const v1::EventRecord& record) {
  std::map<std::string, std::string> fields;
  for (const v1::StoredLabel& field : record.fields()) fields[field.name()] = field.value();
  return fields;
}

}  // namespace stepback

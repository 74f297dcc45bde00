// Runs tests/scenarios/*.txt: histories of commands with what must come of them (tests/scenarios/README.md).
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>

#include "server/base/errors.h"
#include "server/core/spec_check.h"
#include "tests/unit/core_support.h"

namespace stepback::core_test {
namespace {

std::vector<std::string> Split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

Floats Numbers(const std::string& text) {
  Floats numbers;
  for (const std::string& part : Split(text, ',')) numbers.push_back(std::stof(part));
  return numbers;
}

// "nesterov:lr=0.5:momentum=0"
RuleSpec ParseRule(const std::string& text) {
  std::vector<std::string> parts = Split(text, ':');
  RuleSpec rule{.name = parts[0]};
  for (size_t i = 1; i < parts.size(); ++i) {
    const std::vector<std::string> pair = Split(parts[i], '=');
    rule.values[pair.at(0)] = std::stod(pair.at(1));
  }
  return rule;
}

Version ParseVersion(const std::string& text) {
  const std::vector<std::string> parts = Split(text, '.');
  return {.term = std::stoull(parts.at(0)), .counter = std::stoull(parts.at(1))};
}

// One line: a verb, words, and key=value pairs (the value may have further '=').
struct Command {
  explicit Command(const std::string& line) {
    for (const std::string& token : Split(line, ' ')) {
      const size_t equals = token.find('=');
      if (verb.empty()) {
        verb = token;
      } else if (equals == std::string::npos) {
        words.push_back(token);
      } else {
        values.emplace_back(token.substr(0, equals), token.substr(equals + 1));
      }
    }
  }
  bool Has(const std::string& word) const {
    return std::find(words.begin(), words.end(), word) != words.end();
  }
  std::string Value(const std::string& key, const std::string& otherwise = "") const {
    for (const auto& [k, v] : values) {
      if (k == key) return v;
    }
    return otherwise;
  }

  std::string verb;
  std::vector<std::string> words;
  std::vector<std::pair<std::string, std::string>> values;
};

class Scenario {
 public:
  // What came of one command, line by line.
  std::string Run(const std::string& line) {
    const Command command(line);
    static const std::map<std::string, std::string (Scenario::*)(const Command&)> kVerbs = {
        {"model", &Scenario::MakeModel}, {"open", &Scenario::Open},   {"push", &Scenario::PushOne},
        {"time", &Scenario::Time},       {"close", &Scenario::Close}, {"evict", &Scenario::Evict},
        {"update", &Scenario::Update},   {"save", &Scenario::Save},   {"restore", &Scenario::Restore},
        {"recover", &Scenario::Recover}, {"show", &Scenario::Show},   {"heartbeat", &Scenario::Heartbeat}};
    const auto found = kVerbs.find(command.verb);
    return found == kVerbs.end() ? fmt::format("no such command: {}\n", command.verb)
                                 : (this->*found->second)(command);
  }

 private:
  static ModelSpec SpecOf(const Command& c, size_t elements) {
    ModelSpec spec = DeltaSpec(elements, ParseRule(c.Value("outer", "average")));
    if (c.Value("mode") == "gradient") {
      spec.mode = Mode::kGradient;
      spec.inner = ParseRule(c.Value("inner", "sgd:lr=1"));
    }
    spec.sync_period = std::stoul(c.Value("k", "5"));
    const std::string policy = c.Value("policy", "sync");
    spec.rounds.policy = policy == "async"      ? RoundPolicy::kAsync
                         : policy == "buffered" ? RoundPolicy::kBuffered
                                                : RoundPolicy::kSync;
    spec.rounds.quorum = std::stoul(c.Value("quorum", "1"));
    spec.rounds.deadline_seconds = std::stod(c.Value("deadline", "0"));
    spec.rounds.buffer_pushes = std::stoul(c.Value("buffer", "10"));
    spec.rounds.staleness_exponent = std::stod(c.Value("exponent", "0"));
    if (!c.Value("max_staleness").empty()) spec.rounds.max_staleness = std::stoul(c.Value("max_staleness"));
    if (c.Value("reduction") == "ordered") spec.rounds.reduction = Reduction::kOrdered;
    if (c.Value("weighting") == "samples") spec.rounds.weighting = Weighting::kSamples;
    return spec;
  }

  std::string MakeModel(const Command& c) {
    const Floats weights = Numbers(c.Value("weights", "10,20"));
    const ModelSpec spec = SpecOf(c, weights.size());
    if (const absl::Status status = ValidateSpec(spec); !status.ok()) return Refusal("model", status);
    model_ = std::make_unique<TestModel>(spec, OneTensor(weights));
    return "";
  }

  std::string Open(const Command& c) {
    const SessionRole role = c.Has("reader") ? SessionRole::kReader : SessionRole::kTrainer;
    const auto opened =
        (*model_)->Open({.client_id = c.words.at(0), .role = role, .attach = c.Has("attach")}, model_->now);
    if (!opened.ok()) return Refusal(c.words[0], opened.status());
    model_->epochs[c.words[0]] = opened->epoch;
    return fmt::format("{} joined: epoch {}, next push {}\n", c.words[0], opened->epoch,
                       opened->last_sequence + 1);
  }

  std::string PushOne(const Command& c) {
    const std::string client = c.words.at(0);
    Push push = model_->Next(client, OneTensor(Numbers(c.Value("delta"))));
    push.header.sequence = std::stoull(c.Value("seq"));
    if (!c.Value("base").empty()) push.header.base = ParseVersion(c.Value("base"));
    if (!c.Value("epoch").empty()) push.header.epoch = std::stoull(c.Value("epoch"));
    push.header.samples = std::stoull(c.Value("samples", "1"));
    push.header.loss_scale = std::stod(c.Value("loss_scale", "1"));
    push.finite = !c.Has("nonfinite");
    return Tell(model_->Apply(std::move(push)));
  }

  std::string Time(const Command& c) {
    model_->now += std::chrono::seconds(std::stoi(c.words.at(0)));
    return Tell((*model_)->Tick(model_->now));
  }
  std::string Heartbeat(const Command& c) {
    const absl::Status status =
        (*model_)->Heartbeat(c.words.at(0), model_->epochs[c.words[0]], {}, model_->now);
    return status.ok() ? "" : Refusal(c.words[0], status);
  }
  std::string Close(const Command& c) {
    return Tell(c.words.at(0), (*model_)->Close(c.words[0], model_->epochs[c.words[0]], model_->now));
  }
  std::string Evict(const Command& c) {
    return Tell(c.words.at(0), (*model_)->Evict(c.words[0], model_->now));
  }
  std::string Update(const Command& c) {
    std::vector<std::pair<std::string, double>> values;
    for (const auto& [path, value] : c.values) values.emplace_back(path, std::stod(value));
    const auto spec = (*model_)->Update(values, 0);
    if (!spec.ok()) return Refusal("update", spec.status());
    return fmt::format("settings {}\n", model_->version().settings_version);
  }
  std::string Save(const Command& c) {
    saved_[c.words.at(0)] = (*model_)->current();
    return "";
  }
  std::string Restore(const Command& c) {
    return Tell("restore", (*model_)->Restore(saved_.at(c.words.at(0)), std::stoull(c.Value("term"))));
  }
  std::string Recover(const Command& c) {
    const TimePoint now = model_->now;
    model_ = std::make_unique<TestModel>(saved_.at(c.words.at(0)), std::stoull(c.Value("term")));
    model_->now = now;
    return Show(c);
  }
  std::string Show(const Command&) {
    const std::string waiting = (*model_)->WaitingFor();
    return fmt::format("version {} slow {} fast {}{}\n", model_->version().version.ToString(), model_->Phi(),
                       model_->Theta(), waiting.empty() ? "" : ", " + waiting);
  }

  static std::string Refusal(const std::string& who, const absl::Status& status) {
    return fmt::format("{} refused {} {}: {}\n", who, absl::StatusCodeToString(status.code()),
                       ReasonOf(status), std::string(status.message()));
  }

  static std::string Tell(const Effects::Answered& answered) {
    const std::string who = fmt::format("{}:{}", answered.client_id, answered.sequence);
    const PushAnswer& a = answered.answer;
    const char* kNames[] = {"", "applied", "buffered", "duplicate", "skipped"};
    const std::string first = a.outcome == PushOutcome::kDuplicate
                                  ? fmt::format(" of {}", kNames[static_cast<int>(a.first_outcome)])
                                  : "";
    if (!a.refusal.ok()) return Refusal(who + (first.empty() ? "" : " duplicate,"), a.refusal);
    return fmt::format("{} {}{} at {}{}: {}\n", who, kNames[static_cast<int>(a.outcome)], first,
                       a.version.ToString(),
                       a.staleness > 0 ? fmt::format(", staleness {}", a.staleness) : "", a.reason);
  }

  std::string Tell(const Effects& effects) {
    std::string text;
    for (const auto& answered : effects.answers) text += Tell(answered);
    for (const auto& event : effects.events) {
      if (event.name != "push_refused") text += fmt::format("{}: {}\n", event.name, event.reason);
    }
    if (effects.committed != nullptr) text += Show(Command("show"));
    return text;
  }
  std::string Tell(const std::string& who, const absl::StatusOr<Effects>& effects) {
    return effects.ok() ? Tell(*effects) : Refusal(who, effects.status());
  }

  std::unique_ptr<TestModel> model_;
  std::map<std::string, std::shared_ptr<const ModelVersion>> saved_;
};

std::vector<std::filesystem::path> Files() {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(STEPBACK_SOURCE_DIR "/tests/scenarios")) {
    if (entry.path().extension() == ".txt") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

class ScenarioFile : public testing::TestWithParam<std::filesystem::path> {};

TEST_P(ScenarioFile, Happens) {
  std::ifstream in(GetParam());
  Scenario scenario;
  std::string actual, line, file_text, happened;
  bool expecting = false;
  while (std::getline(in, line)) {
    file_text += line + "\n";
    if (line.empty()) expecting = false;
    if (line == "----") {
      expecting = true;
      actual += line + "\n" + std::exchange(happened, "");
      continue;
    }
    if (expecting) continue;  // what should have come; `actual` holds what did
    actual += line + "\n";
    if (!line.empty() && line[0] != '#') happened += scenario.Run(line);
  }
  EXPECT_EQ(happened, "") << "commands without a rule line under them";
  if (std::getenv("STEPBACK_REWRITE_SCENARIOS") != nullptr) {
    std::ofstream(GetParam()) << actual;
  } else {
    EXPECT_EQ(actual, file_text);
  }
}

INSTANTIATE_TEST_SUITE_P(Scenarios, ScenarioFile, testing::ValuesIn(Files()), [](const auto& info) {
  std::string name = info.param.stem().string();
  std::replace_if(
      name.begin(), name.end(), [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
  return name;
});

}  // namespace
}  // namespace stepback::core_test

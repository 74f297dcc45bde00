// stepback events DIR: what happened to models, from their event logs, without a server. It only reads, so it
// may look on while a server runs.
#include <fmt/format.h>

#include <chrono>
#include <iostream>
#include <memory>
#include <thread>

#include "client/cli/commands.h"
#include "client/cli/error_report.h"
#include "client/cli/event_json.h"
#include "client/cli/interrupted.h"
#include "client/cli/units.h"
#include "server/base/status_macros.h"
#include "server/tools/model_events.h"

namespace stepback::cli {
namespace {

constexpr std::chrono::milliseconds kLook(250);

struct EventsRequest {
  std::string directory, model, since;
  EventFilter filter;
  bool follow = false;
};

struct Source {
  std::string model;
  std::unique_ptr<ModelEvents> events;
  size_t damage_told = 0;
};

std::string WallText(int64_t nanos) {
  return ShowTime(std::chrono::system_clock::time_point(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(std::chrono::nanoseconds(nanos))));
}

std::vector<std::string> EventRow(const std::string& model, const v1::EventRecord& record) {
  std::string reason = record.reason();
  if (record.dropped() > 0) reason += fmt::format(" (behind {} records that were dropped)", record.dropped());
  return {WallText(record.wall_nanos()),
          model,
          VersionOf(record).ToString(),
          record.name(),
          WhoOf(record),
          reason};
}

// Where records go: straight out, or into one table or array at the end.
class EventPrinter {
 public:
  EventPrinter(const Context* context, bool live) : context_(context), live_(live) {
    table_.SetEmpty("no events");
  }

  void Add(const std::string& model, const v1::EventRecord& record) {
    if (context_->output() == Output::kJsonl || (live_ && context_->json())) {
      std::cout << EventJson(model, record).dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
    } else if (live_) {
      const std::vector<std::string> row = EventRow(model, record);
      std::cout << fmt::format("{}  {}  {:>9}  {:<16}  {}  {}\n", row[0], row[1], row[2], row[3], row[4],
                               row[5]);
    } else if (context_->json()) {
      events_.push_back(EventJson(model, record));
    } else {
      table_.Add(EventRow(model, record));
    }
  }
  void Finish() const {
    if (!live_ && context_->output() != Output::kJsonl) context_->Print({{"events", events_}}, table_);
    std::cout.flush();
  }

 private:
  const Context* const context_;
  const bool live_;
  Table table_{{"TIME", "MODEL", "VERSION", "EVENT", "WHO", "REASON"}};
  Json events_ = Json::array();
};

absl::StatusOr<std::vector<Source>> OpenSources(const EventsRequest& request) {
  FileSystem* const fs = FileSystem::Posix();
  ASSIGN_OR_RETURN(const std::vector<ModelDirectory> models, FindModelDirectories(fs, request.directory));
  std::vector<Source> sources;
  for (const ModelDirectory& model : models) {
    if (!request.model.empty() && model.model != request.model) continue;
    Source& source = sources.emplace_back();
    source.model = model.model;
    ASSIGN_OR_RETURN(source.events, ModelEvents::Open(fs, model));
  }
  if (!sources.empty() || request.model.empty()) return sources;
  return absl::NotFoundError(fmt::format("'{}' holds no model '{}'", request.directory, request.model));
}

absl::Status PrintNew(Source* source, const EventFilter& filter, EventPrinter* printer) {
  for (;;) {
    v1::EventRecord record;
    ASSIGN_OR_RETURN(const bool more, source->events->Next(&record));
    if (!more) return absl::OkStatus();
    if (record.number() > 0 && Matches(filter, record)) printer->Add(source->model, record);
  }
}

void TellDamage(Source* source) {
  const auto& damaged = source->events->reader().damaged();
  for (; source->damage_told < damaged.size(); ++source->damage_told) {
    const EventReader::Damage& damage = damaged[source->damage_told];
    std::cerr << fmt::format("model '{}': {} bytes at {} of event file {} were stepped over: {}\n",
                             source->model, damage.bytes, damage.offset, damage.file, damage.what);
  }
}

absl::Status ShowEvents(EventsRequest request, const Context& context) {
  if (!request.since.empty()) {
    const absl::StatusOr<Version> since = ParseVersion(request.since);
    if (!since.ok()) return UsageError(std::string(since.status().message()));
    request.filter.since = *since;
  }
  ASSIGN_OR_RETURN(std::vector<Source> sources, OpenSources(request));
  EventPrinter printer(&context, request.follow);
  do {
    for (Source& source : sources) {
      RETURN_IF_ERROR(PrintNew(&source, request.filter, &printer));
      TellDamage(&source);
    }
    std::cout.flush();
    if (request.follow) std::this_thread::sleep_for(kLook);
  } while (request.follow && !Interrupted());
  printer.Finish();
  return absl::OkStatus();
}

}  // namespace

void AddEventCommands(CLI::App* app, Context* context) {
  const auto request = std::make_shared<EventsRequest>();
  CLI::App* events = AddCommand(app, context, "events", "Show what happened to models, from their event logs",
                                [=] { return ShowEvents(*request, *context); });
  events
      ->add_option("directory", request->directory,
                   "A server's data directory, or the directory of one model")
      ->required()
      ->check(CLI::ExistingDirectory);
  events->add_option("--model", request->model, "Of this model only");
  events->add_option("--client", request->filter.client,
                     "What this client did, and the rounds that it was in");
  events->add_option("--name", request->filter.name, "Events of this name: round_closed, push_refused, ...");
  events->add_option("--since", request->since, "From this version on: 7, or 2.7 with the term");
  events->add_flag("--follow", request->follow, "Go on with what comes, until interrupted");
}

}  // namespace stepback::cli

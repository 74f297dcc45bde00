// Records of the event log as JSON and as words (docs/cli.md). Pure.
#pragma once

#include <string>

#include "client/cli/context.h"
#include "server/core/version.h"
#include "stepback/v1/events.pb.h"

namespace stepback::cli {

Json EventJson(const std::string& model, const v1::EventRecord& record);
// Whom it is about: a client, or the pushes of a round ("w0:7, w1:7 and 2 more").
std::string WhoOf(const v1::EventRecord& record);
Version VersionOf(const v1::EventRecord& record);
// A double as JSON has it; "inf", "-inf" and "nan" as words, which JSON has no numbers for.
Json NumberJson(double number);

}  // namespace stepback::cli

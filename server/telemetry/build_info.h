// What was built: for --version, GetServerInfo and stepback_build_info. Thread: any; values never change.
// CurrentBuild is a library of its own (stepback::build_info), linked by programs only: its revision changes
// with every commit, and nothing else should have to be linked again for that.
#pragma once

#include <string>

namespace stepback {

struct BuildInfo {
  std::string version;  // semantic version, e.g. "0.1.0"
  std::string
      revision;  // short commit hash, "-dirty" when the tree had changes, "unknown" outside a checkout
  std::string cuda = "none";           // toolkit version, or "none"
  std::string grpc = "unknown";        // gRPC version built against
  std::string build_type = "unknown";  // "Release", "Debug", ...
};

const BuildInfo& CurrentBuild();

// "stepbackd 0.1.0 (revision 1a2b3c4, Release, gRPC 1.51.1, CUDA none)"
std::string VersionLine(const BuildInfo& build, const std::string& program);

}  // namespace stepback

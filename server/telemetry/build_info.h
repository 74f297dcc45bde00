// What was built: for --version, GetServerInfo and stepback_build_info. Thread: any; values never change.
#pragma once

#include <string>

namespace stepback {

struct BuildInfo {
  std::string version;  // semantic version, e.g. "0.1.0"
  std::string
      revision;      // short commit hash, "-dirty" when the tree had changes, "unknown" outside a checkout
  std::string cuda;  // toolkit version, or "none"
  std::string grpc;  // gRPC version built against
  std::string build_type;  // "Release", "Debug", ...
};

const BuildInfo& CurrentBuild();

// "stepbackd 0.1.0 (revision 1a2b3c4, Release, gRPC 1.51.1, CUDA none)"
std::string VersionLine(const BuildInfo& build, const std::string& program);

}  // namespace stepback

#include "server/config/listen_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <string_view>

#include "server/base/status_macros.h"

namespace stepback {
namespace {

absl::Status Bad(const std::string& text) {
  return absl::InvalidArgumentError(
      fmt::format("address '{}' is not host:port, [ipv6]:port or unix:/path", text));
}

absl::StatusOr<int> ParsePort(const std::string& text, std::string_view port) {
  int value = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), value);
  if (error != std::errc() || end != port.data() + port.size() || value < 0 || value > 65535) {
    return absl::InvalidArgumentError(fmt::format("address '{}': port '{}' is not in 0..65535", text, port));
  }
  return value;
}

absl::StatusOr<ListenAddress> ParseUnix(const std::string& text) {
  const bool abstract = text.starts_with("unix-abstract:");
  const std::string path = text.substr(text.find(':') + 1);
  // sun_path holds 108 bytes, the last of them zero.
  if (path.empty() || path.size() > 107) return Bad(text);
  return ListenAddress{.unix_path = abstract ? fmt::format("@{}", path) : path};
}

bool IsLoopbackV4(uint32_t host_order) { return host_order >> 24 == 127; }

bool IsLoopbackV6(const in6_addr& address) {
  if (IN6_IS_ADDR_V4MAPPED(&address)) return address.s6_addr[12] == 127;
  return IN6_IS_ADDR_LOOPBACK(&address);
}

}  // namespace

absl::StatusOr<ListenAddress> ParseListenAddress(const std::string& text) {
  if (text.starts_with("unix:") || text.starts_with("unix-abstract:")) return ParseUnix(text);
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return Bad(text);
  std::string host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  in6_addr v6{};
  const bool is_v6 = inet_pton(AF_INET6, host.c_str(), &v6) == 1;
  // Without brackets the last group of an IPv6 address would be taken for the port.
  if (bracketed != is_v6 || host.find_first_of("[]/ ") != std::string::npos) return Bad(text);
  if (!bracketed && host.find(':') != std::string::npos) return Bad(text);
  ASSIGN_OR_RETURN(const int port, ParsePort(text, std::string_view(text).substr(colon + 1)));
  return ListenAddress{.host = std::move(host), .port = port};
}

bool ListenAddress::IsLoopback() const {
  in_addr v4{};
  in6_addr v6{};
  if (is_unix() || host == "localhost") return true;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return IsLoopbackV4(ntohl(v4.s_addr));
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IsLoopbackV6(v6);
}

std::string ListenAddress::ToString() const {
  if (is_unix())
    return fmt::format("unix{}:{}", unix_path[0] == '@' ? "-abstract" : "",
                       unix_path.substr(unix_path[0] == '@'));
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                             : fmt::format("[{}]:{}", host, port);
}

}  // namespace stepback

// Plain blocking TCP on loopback, 1 MiB per call: the limit that the service is measured against.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stepback::bench {

inline constexpr size_t kSocketPiece = 1 << 20;

// A listening socket on a free loopback port; ends the process on failure.
int ListenOnLoopback(int* port);
int ConnectToLoopback(int port);

// All bytes or the end of the process (false only for a peer that has closed before the first byte).
bool ReceiveAll(int socket, void* to, uint64_t bytes);
void SendAll(int socket, const void* from, uint64_t bytes);

}  // namespace stepback::bench

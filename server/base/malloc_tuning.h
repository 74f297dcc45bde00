// Settings of the C library's allocator for a process that receives large messages over and over.
#pragma once

namespace stepback {

// Lets malloc keep and re-use freed memory instead of returning it to the system: the transport's read
// buffers then stop paying for the first touch of fresh pages with every message. Called once, first thing in
// main of a process of our own; never in a library, where the host's settings are not ours to change.
void KeepFreedMemory();

}  // namespace stepback

// Times work on the current device with CUDA events, and measures the limit it is divided by: a copy within
// the device.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

namespace stepback::kernels::cuda {

std::string DeviceName(int device);
// Median seconds of `runs` calls after `warm_up` ones, between two events on the device's default stream
// (which orders itself with every stream of the back-end), so host time between launches counts too.
double MedianSeconds(const std::function<void()>& work, int warm_up, int runs);
// Bytes read plus bytes written per second of a device-to-device copy of `bytes`; 0 when there is no memory
// for it.
double CopyBytesPerSecond(size_t bytes);

}  // namespace stepback::kernels::cuda

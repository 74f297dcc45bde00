// Connections between clients and the server that lose, delay, repeat and reorder messages, and fall apart.
// A lost message is silence: callers have their own time limits. Messages of one stream keep their order, as
// in TCP.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "tests/sim/event_queue.h"
#include "tests/sim/plan.h"
#include "tests/sim/random.h"

namespace stepback::sim {

class Network {
 public:
  Network(EventQueue* events, Random* random, const NetworkPlan& plan, size_t clients)
      : events_(events), random_(random), plan_(plan), partitioned_until_(clients) {}

  // Delivers to the server, or from it, after a while; perhaps never, perhaps twice.
  void ToServer(size_t client, std::function<void()> deliver) { Send(client, std::move(deliver)); }
  void ToClient(size_t client, std::function<void()> deliver) { Send(client, std::move(deliver)); }

  // One direction of a stream.
  struct Stream {
    TimePoint last{};
    bool broken = false;
  };
  // `deliver` after what was sent before it; `broke` instead, once, if the connection breaks here.
  void OnStream(size_t client, Stream* stream, std::function<void()> deliver, std::function<void()> broke);

  void Partition(size_t client, Duration how_long);
  // No more faults: the end of a run, when everybody shall arrive.
  void Heal();
  uint64_t lost() const { return lost_; }
  uint64_t repeated() const { return repeated_; }

 private:
  void Send(size_t client, std::function<void()> deliver);
  bool Loses(size_t client);
  Duration Delay() {
    return random_->Between(plan_.delay_min,
                            random_->Chance(plan_.late) ? plan_.delay_max : 4 * plan_.delay_min);
  }

  EventQueue* const events_;
  Random* const random_;
  NetworkPlan plan_;
  std::vector<TimePoint> partitioned_until_;
  uint64_t lost_ = 0, repeated_ = 0;
};

}  // namespace stepback::sim

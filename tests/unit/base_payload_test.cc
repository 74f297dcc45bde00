#include "server/base/payload.h"

#include <gtest/gtest.h>

#include <numeric>

#include "server/base/pool.h"

namespace stepback {
namespace {

std::shared_ptr<std::vector<std::byte>> Bytes(size_t count, int first) {
  auto bytes = std::make_shared<std::vector<std::byte>>(count);
  for (size_t i = 0; i < count; ++i) (*bytes)[i] = std::byte(first + i);
  return bytes;
}

kernels::ByteSpan Span(const std::vector<std::byte>& bytes) { return {bytes.data(), bytes.size()}; }

std::vector<std::byte> Joined(const Payload& payload) {
  std::vector<std::byte> all(payload.size());
  const std::byte* from = payload.view().Read(0, all.size(), all.data());
  return {from, from + all.size()};
}

TEST(Payload, KeepsItsPiecesAliveUntilTheLastCopyGoes) {
  auto a = Bytes(10, 0), b = Bytes(5, 10);
  std::weak_ptr<std::vector<std::byte>> watched = a;
  Payload payload;
  payload.Append(Span(*a), a);
  payload.Append(Span(*b), b);
  a.reset();
  Payload copy = payload;
  payload = Payload();
  EXPECT_FALSE(watched.expired());
  EXPECT_EQ(Joined(copy), *Bytes(15, 0));
  copy = Payload();
  EXPECT_TRUE(watched.expired());
}

TEST(Payload, AppendsAnotherPayloadByReference) {
  auto a = Bytes(3, 0), b = Bytes(4, 3);
  Payload first, second;
  first.Append(Span(*a), a);
  second.Append(Span(*b), b);
  first.Append(second);
  EXPECT_EQ(first.view().spans()[1].data, b->data());
  EXPECT_EQ(Joined(first), *Bytes(7, 0));
}

TEST(Payload, EmptyPiecesPinNothing) {
  auto a = Bytes(3, 0);
  Payload payload;
  payload.Append({a->data(), 0}, a);
  EXPECT_TRUE(payload.empty());
  EXPECT_EQ(a.use_count(), 1);
}

TEST(Payload, CopyOfJoinsThePiecesAndReturnsItsMemoryToThePool) {
  BufferPool pool;
  auto a = Bytes(100, 0), b = Bytes(50, 100);
  Payload pieces;
  pieces.Append(Span(*a), a);
  pieces.Append(Span(*b), b);
  {
    auto copy = Payload::CopyOf(pieces.view(), &pool);
    ASSERT_TRUE(copy.ok());
    pieces = Payload();
    EXPECT_EQ(copy->view().spans().size(), 1u);
    EXPECT_EQ(Joined(*copy), *Bytes(150, 0));
  }
  EXPECT_EQ(pool.stats().in_use_count, 0u);
}

TEST(Payload, CopyOfSaysSoWhenThereIsNoMemory) {
  BufferPool pool;
  auto a = Bytes(100, 0);
  kernels::EncodedView view({Span(*a)});
  pool.FailAllocation(1);
  EXPECT_EQ(Payload::CopyOf(view, &pool).status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace stepback

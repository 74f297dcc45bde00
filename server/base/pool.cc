#include "server/base/pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <new>

#include "server/base/check.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define SB_POISON(p, n) __asan_poison_memory_region(p, n)
#define SB_UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
#else
#define SB_POISON(p, n) static_cast<void>(p)
#define SB_UNPOISON(p, n) static_cast<void>(p)
#endif

namespace stepback {
namespace {

constexpr size_t kAlign = 64;
constexpr size_t kSmallestClass = 256;
constexpr size_t kLargestRequest = size_t{1} << 46;  // beyond any machine; keeps the arithmetic from wrapping
constexpr size_t kHugePage = 2 << 20;
constexpr size_t kStagger = 4096 + 128;
constexpr uint32_t kLiveMagic = 0x5b0f'1e55;
constexpr uint32_t kCachedMagic = 0x5b0f'dead;

// Sizes step by 1/8 of a power of two: 256, 288, ..., 480, 512, 576, ... A request wastes at most 1/8.
int SizeClass(size_t bytes) {
  bytes = std::max(bytes, kSmallestClass);
  const int exponent = std::bit_width(bytes) - 1;
  const size_t step = (size_t{1} << exponent) / 8;
  const int eighths = static_cast<int>((bytes + step - 1) / step);  // 8..16
  return (exponent - 8) * 8 + eighths - 8;
}

size_t ClassBytes(int size_class) { return (size_t{1} << (size_class / 8 + 8)) / 8 * (8 + size_class % 8); }

// How many different starts buffers of this size take: enough for every array of a commit where the cost of
// the aliasing is large, few where the stagger itself would be a large share of the buffer.
uint32_t StaggerCount(size_t class_bytes) {
  if (class_bytes >= (1 << 20)) return 16;
  return class_bytes >= (64 << 10) ? 2 : 0;
}

size_t StaggerRoom(size_t class_bytes) {
  const uint32_t count = StaggerCount(class_bytes);
  return count == 0 ? kAlign : (2 * count - 1) * kStagger;
}

size_t RoundUp(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

bool IsMapped(size_t class_bytes) { return class_bytes >= kHugePage; }

// Bytes of the region that holds header, stagger and buffer.
size_t RegionBytes(size_t class_bytes) {
  const size_t bytes = StaggerRoom(class_bytes) + class_bytes;
  return IsMapped(class_bytes) ? RoundUp(bytes, kHugePage) : RoundUp(bytes, kAlign);
}

// Whole huge pages: maps one more than needed and gives the ends back.
void* MapHuge(size_t bytes) {
  const size_t room = bytes + kHugePage;
  void* mapped = mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  const uintptr_t first = reinterpret_cast<uintptr_t>(mapped);
  const uintptr_t start = RoundUp(first, kHugePage);
  if (start > first) munmap(mapped, start - first);
  if (start + bytes < first + room)
    munmap(reinterpret_cast<void*>(start + bytes), first + room - start - bytes);
  madvise(reinterpret_cast<void*>(start), bytes, MADV_HUGEPAGE);  // advice: a refusal costs only speed
  return reinterpret_cast<void*>(start);
}

}  // namespace

struct BufferPool::Header {
  uint32_t magic;
  int32_t size_class;
  void* region;
  Header* next;  // in the cache

  size_t class_bytes() const { return ClassBytes(size_class); }
  size_t region_bytes() const { return RegionBytes(class_bytes()); }
  std::byte* buffer() { return reinterpret_cast<std::byte*>(this) + kAlign; }
  static Header* Of(std::byte* buffer) { return reinterpret_cast<Header*>(buffer - kAlign); }
};

BufferPool::BufferPool(const Options& options) : budget_bytes_(options.budget_bytes) {
  static_assert(sizeof(Header) <= kAlign);
}

BufferPool::~BufferPool() {
  Trim();
  SB_CHECK(stats_.in_use_count == 0, "%lu buffers outlive their pool",
           static_cast<unsigned long>(stats_.in_use_count));
}

std::byte* BufferPool::Allocate(size_t bytes) noexcept {
  if (bytes > kLargestRequest) return Refuse();
  const int size_class = SizeClass(bytes);
  const uint64_t region_bytes = RegionBytes(ClassBytes(size_class));
  {
    MutexLock lock(&mu_);
    if (fail_in_ > 0 && --fail_in_ == 0) return ++stats_.failure_count, nullptr;
  }
  for (bool reserved = false; !reserved;) {
    Header* victims = nullptr;
    {
      MutexLock lock(&mu_);
      if (Header* header = Reuse(size_class)) return header->buffer();
      reserved = Reserve(region_bytes);
      if (!reserved && (victims = TakeCached(region_bytes)) == nullptr)
        return ++stats_.failure_count, nullptr;
    }
    Release(victims);
  }
  Header* header = Fresh(size_class);
  if (header == nullptr && Trim() > 0) header = Fresh(size_class);
  if (header != nullptr) return header->buffer();
  MutexLock lock(&mu_);
  stats_.in_use_bytes -= region_bytes;
  --stats_.in_use_count;
  --stats_.fresh_count;
  ++stats_.failure_count;
  return nullptr;
}

void BufferPool::Free(std::byte* p, size_t bytes) noexcept {
  if (p == nullptr) return;
  Header* header = Header::Of(p);
  SB_CHECK(header->magic == kLiveMagic, "freed twice, or not from this pool");
  SB_CHECK(header->size_class == SizeClass(bytes), "allocated with another size than %zu", bytes);
  SB_POISON(p, header->class_bytes());
  MutexLock lock(&mu_);
  header->magic = kCachedMagic;
  header->next = cached_[header->size_class];
  cached_[header->size_class] = header;
  stats_.in_use_bytes -= header->region_bytes();
  stats_.cached_bytes += header->region_bytes();
  --stats_.in_use_count;
}

uint64_t BufferPool::Trim() {
  Header* all = nullptr;
  {
    MutexLock lock(&mu_);
    all = TakeCached(kLargestRequest * 2);
  }
  return Release(all);
}

BufferPool::Stats BufferPool::stats() const {
  MutexLock lock(&mu_);
  return stats_;
}

void BufferPool::FailAllocation(int64_t n) {
  MutexLock lock(&mu_);
  fail_in_ = n;
}

uint64_t BufferPool::ChargedBytes(size_t bytes) {
  return bytes > kLargestRequest ? UINT64_MAX : RegionBytes(ClassBytes(SizeClass(bytes)));
}

BufferPool::Header* BufferPool::Reuse(int size_class) {
  Header* header = cached_[size_class];
  if (header == nullptr) return nullptr;
  cached_[size_class] = header->next;
  header->magic = kLiveMagic;
  SB_UNPOISON(header->buffer(), header->class_bytes());
  stats_.cached_bytes -= header->region_bytes();
  stats_.in_use_bytes += header->region_bytes();
  ++stats_.in_use_count;
  ++stats_.reuse_count;
  return header;
}

bool BufferPool::Reserve(uint64_t bytes) {
  const uint64_t held = stats_.in_use_bytes + stats_.cached_bytes + bytes;
  if (budget_bytes_ != 0 && held > budget_bytes_) return false;
  stats_.in_use_bytes += bytes;
  stats_.peak_bytes = std::max(stats_.peak_bytes, held);
  ++stats_.in_use_count;
  ++stats_.fresh_count;
  return true;
}

// Cached buffers, largest first, until `bytes` are found or none is left. They stay accounted until released.
BufferPool::Header* BufferPool::TakeCached(uint64_t bytes) {
  Header* taken = nullptr;
  uint64_t found = 0;
  for (int size_class = kClassCount - 1; size_class >= 0; --size_class) {
    while (cached_[size_class] != nullptr && found < bytes) {
      Header* header = cached_[size_class];
      cached_[size_class] = header->next;
      header->next = taken;
      taken = header;
      found += header->region_bytes();
    }
  }
  return taken;
}

BufferPool::Header* BufferPool::Fresh(int size_class) {
  const size_t class_bytes = ClassBytes(size_class);
  const size_t region_bytes = RegionBytes(class_bytes);
  void* region = IsMapped(class_bytes) ? MapHuge(region_bytes) : std::aligned_alloc(kAlign, region_bytes);
  if (region == nullptr) return nullptr;
  const uint32_t count = StaggerCount(class_bytes);
  const size_t offset = count == 0 ? kAlign : (2 * (next_stagger_++ % count) + 1) * kStagger;
  std::byte* buffer = static_cast<std::byte*>(region) + offset;
  return new (Header::Of(buffer)) Header{kLiveMagic, size_class, region, nullptr};
}

// Returns the memory of a list of buffers to the system; called without the lock, which munmap would hold for
// long.
uint64_t BufferPool::Release(Header* list) {
  uint64_t released = 0;
  while (list != nullptr) {
    Header* const header = list;
    list = header->next;
    const size_t region_bytes = header->region_bytes();
    const bool mapped = IsMapped(header->class_bytes());
    void* const region = header->region;
    SB_UNPOISON(header->buffer(), header->class_bytes());
    if (mapped)
      munmap(region, region_bytes);
    else
      std::free(region);
    released += region_bytes;
  }
  MutexLock lock(&mu_);
  stats_.cached_bytes -= released;
  return released;
}

std::byte* BufferPool::Refuse() {
  MutexLock lock(&mu_);
  ++stats_.failure_count;
  return nullptr;
}

}  // namespace stepback

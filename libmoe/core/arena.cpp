#include "libmoe/core/arena.h"

#include <sanitizer/asan_interface.h>

#include <algorithm>

#include "libmoe/base/error.h"

namespace moe {
namespace {

constexpr std::int64_t kUnit = 256;
// Behind each block: matrices of like sizes do not fall on the same sets of the caches, and a sanitizer sees
// what runs over the end.
constexpr std::int64_t kGap = kUnit;
// Memory that nobody has touched costs nothing, so segments are large and grow: few ends where nothing fits.
constexpr std::int64_t kSegment = std::int64_t{32} << 20, kHugePage = std::int64_t{2} << 20;

std::int64_t round_up(std::int64_t n, std::int64_t to) {
  return (n + to - 1) / to * to;
}

}  // namespace

Arena::~Arena() {
  for (const auto& [begin, size] : segments_) {
    ASAN_UNPOISON_MEMORY_REGION(begin, static_cast<std::size_t>(size));
    runtime_->release(runtime_->device, begin, static_cast<std::size_t>(size));
  }
}

std::int64_t Arena::size_of_block(std::int64_t bytes) {
  return round_up(bytes, kUnit) + kGap;
}

void Arena::add_piece(char* begin, std::int64_t size) {
  free_[begin] = size;
  by_size_.insert({size, begin});
}

std::pair<char*, std::int64_t> Arena::take_piece(Pieces::iterator piece) {
  const auto taken = *piece;
  by_size_.erase({taken.second, taken.first});
  free_.erase(piece);
  return taken;
}

// As much again as there is, or just enough where the system gives no more.
int Arena::add_segment(std::int64_t size) {
  trim();
  const std::int64_t enough = round_up(size, kHugePage);
  std::int64_t wanted = 0;
  for (const auto& [begin, bytes] : segments_) wanted += bytes;
  wanted = std::max({wanted, enough, kSegment});
  void* begin = nullptr;
  int status = runtime_->allocate(runtime_->device, static_cast<std::size_t>(wanted), &begin);
  if (status != 0 && wanted > enough) {
    wanted = enough;
    status = runtime_->allocate(runtime_->device, static_cast<std::size_t>(wanted), &begin);
  }
  if (status != 0) return status;
  segments_[static_cast<char*>(begin)] = wanted;
  add_piece(static_cast<char*>(begin), wanted);
  return 0;
}

int Arena::allocate(std::int64_t bytes, void** pointer) {
  const std::int64_t size = size_of_block(bytes);
  auto smallest = by_size_.lower_bound({size, nullptr});
  if (smallest == by_size_.end()) {
    if (const int status = add_segment(size); status != 0) return status;
    smallest = by_size_.lower_bound({size, nullptr});
  }
  const auto [begin, available] = take_piece(free_.find(smallest->second));
  if (available > size) add_piece(begin + size, available - size);
  ASAN_POISON_MEMORY_REGION(begin, static_cast<std::size_t>(size));
  ASAN_UNPOISON_MEMORY_REGION(begin, static_cast<std::size_t>(bytes));
  *pointer = begin;
  return 0;
}

void Arena::release(void* pointer, std::int64_t bytes) {
  char* begin = static_cast<char*>(pointer);
  std::int64_t size = size_of_block(bytes);
  ASAN_POISON_MEMORY_REGION(begin, static_cast<std::size_t>(size));
  // Pieces of neighbouring segments stay apart.
  auto next = free_.lower_bound(begin);
  MOE_CHECK(next == free_.end() || next->first >= begin + size, "a block was released twice");
  if (next != free_.end() && next->first == begin + size && !segments_.contains(next->first))
    size += take_piece(next).second;
  next = free_.lower_bound(begin);
  if (next != free_.begin() && !segments_.contains(begin)) {
    const auto before = std::prev(next);
    if (before->first + before->second == begin) {
      const auto piece = take_piece(before);
      begin = piece.first;
      size += piece.second;
    }
  }
  add_piece(begin, size);
}

void Arena::trim() {
  for (auto segment = segments_.begin(); segment != segments_.end();) {
    const auto piece = free_.find(segment->first);
    if (piece == free_.end() || piece->second != segment->second) {
      ++segment;
      continue;
    }
    take_piece(piece);
    ASAN_UNPOISON_MEMORY_REGION(segment->first, static_cast<std::size_t>(segment->second));
    runtime_->release(runtime_->device, segment->first, static_cast<std::size_t>(segment->second));
    segment = segments_.erase(segment);
  }
}

}  // namespace moe

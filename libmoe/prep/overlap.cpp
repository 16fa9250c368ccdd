#include "libmoe/prep/overlap.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "libmoe/base/error.h"

namespace moe::prep {
namespace {

constexpr std::int64_t kSortBytes = 64 << 20;  // each of up to three sorters
constexpr int kRankBits = 60;                  // a candidate's index takes the lower bits of a value
constexpr std::uint64_t kIndexMask = (1ull << kRankBits) - 1;

/// test before dev before train.
std::uint64_t rank(Split split) {
  return split == Split::test ? 0 : split == Split::dev ? 1 : 2;
}

std::uint64_t hash(std::string_view text, std::uint64_t seed) {
  return XXH3_64bits_withSeed(text.data(), text.size(), seed);
}

}  // namespace

std::uint64_t hash_sentence(std::string_view utf8) {
  return hash(utf8, 0);
}

std::uint64_t hash_line(std::string_view source_language, std::string_view source,
                        std::string_view target_language, std::string_view target) {
  if (target_language < source_language) {
    std::swap(source_language, target_language);
    std::swap(source, target);
  }
  return hash(target, hash(target_language, hash(source, hash(source_language, 1))));
}

Split split_by_hash(std::uint64_t sentence_hash, double dev_share, double test_share) {
  const double u = static_cast<double>(sentence_hash >> 11) * 0x1p-53;
  if (u < test_share) return Split::test;
  return u >= 1 - dev_share ? Split::dev : Split::train;
}

OverlapFinder::OverlapFinder(const std::string& folder, bool keep_duplicates)
    : keep_duplicates_(keep_duplicates),
      folder_(folder),
      lines_(std::make_unique<ExternalSort>(folder, kSortBytes)),
      sentences_(std::make_unique<ExternalSort>(folder, kSortBytes)) {}

void OverlapFinder::add(const Hashes& hashes, Split split, bool given) {
  const auto index = static_cast<std::uint64_t>(n_candidates_++);
  any_held_out_ = any_held_out_ || split != Split::train;
  const std::uint64_t value = (rank(split) << kRankBits) | index;
  if (!given && !keep_duplicates_) lines_->add({hashes.line, value});
  sentences_->add({hashes.source, value});
  if (hashes.is_pair) sentences_->add({hashes.target, value});
}

void OverlapFinder::finish() {
  drops_ = std::make_unique<ExternalSort>(folder_, kSortBytes);
  find_duplicates();
  lines_.reset();
  if (any_held_out_) find_leaks();
  sentences_.reset();
  drops_->finish();
}

void OverlapFinder::find_duplicates() {
  lines_->finish();
  ExternalSort::Cursor cursor(*lines_);
  KeyValue record{}, first{};
  for (bool any = false; cursor.next(record); any = true) {
    if (any && record.key == first.key)
      drops_->add({record.value & kIndexMask, static_cast<std::uint64_t>(Counter::dropped_duplicate)});
    else
      first = record;
  }
}

void OverlapFinder::find_leaks() {
  sentences_->finish();
  const std::uint64_t train = rank(Split::train);
  ExternalSort::Cursor cursor(*sentences_);
  KeyValue record{}, first{};
  for (bool any = false; cursor.next(record); any = true) {
    if (!any || record.key != first.key) first = record;
    if (record.value >> kRankBits == train && first.value >> kRankBits != train)
      drops_->add({record.value & kIndexMask, static_cast<std::uint64_t>(Counter::dropped_leak)});
  }
}

OverlapFinder::Verdicts::Verdicts(const OverlapFinder& finder)
    : cursor_(*finder.drops_), any_(cursor_.next(drop_)) {}

Counter OverlapFinder::Verdicts::next() {
  const std::uint64_t index = index_++;
  if (!any_ || drop_.key != index) return Counter::kept;
  const auto reason = static_cast<Counter>(drop_.value);
  while (any_ && drop_.key == index) any_ = cursor_.next(drop_);
  return reason;
}

}  // namespace moe::prep

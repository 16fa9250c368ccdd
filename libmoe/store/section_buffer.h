// Memory that holds one section of a store at a time, filled expert by expert in the background.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "libmoe/core/device.h"
#include "libmoe/store/aligned_buffer.h"
#include "libmoe/store/async_reader.h"
#include "libmoe/store/expert_file.h"
#include "libmoe/store/expert_source.h"

namespace moe {

/// What acquiring experts cost.
struct FetchStatistics {
  std::int64_t n_hits = 0;    // experts needed and there
  std::int64_t n_misses = 0;  // experts needed and waited for
  double stall_seconds = 0;
};

/// Not thread-safe. The file description and the reader outlive it.
class SectionBuffer {
 public:
  /// The device must be host-accessible. Throws Error(failed) when there is no memory.
  SectionBuffer(const ExpertFile& file, AsyncReader& reader, Device& device, std::int64_t bytes);
  /// Waits for reads into this memory.
  ~SectionBuffer();
  SectionBuffer(SectionBuffer&&) noexcept = default;

  int layer() const { return layer_; }  // -1: none
  /// Asks for the experts of a layer with hint[e] > 0, or for all without a hint; those already there are
  /// kept.
  void load(int layer, std::span<const std::int32_t> hint = {});
  /// Blocks until the experts with counts[e] > 0 are there. withdraw_others: experts not needed and not
  /// being read yet are not read. Views are empty for experts that are not there. Throws what
  /// AsyncReader::wait throws.
  std::span<const ExpertWeights> need(std::span<const std::int32_t> counts, bool withdraw_others,
                                      FetchStatistics& statistics);

 private:
  void cancel_all();
  void request(std::size_t expert);
  ExpertWeights weights_of(std::size_t expert) const;

  const ExpertFile* file_;
  AsyncReader* reader_;
  Device* device_;
  AlignedBuffer memory_;
  int layer_ = -1;
  std::vector<ReadTicketPtr> tickets_;  // [E], null: not asked for
  std::vector<ExpertWeights> weights_;  // [E]
};

}  // namespace moe

// Experts of a store for the MoE layers of a model: some layers stay in memory, the others pass through a
// ring.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "libmoe/store/expert_source.h"
#include "libmoe/store/placement.h"
#include "libmoe/store/ring.h"

namespace moe {

struct RingStatistics {
  std::int64_t bytes_read = 0;
  FetchStatistics fetch;
  /// Needed experts that were in memory when asked for.
  double hit_rate() const;
};

/// Steps run over the layers that are not resident: encoder, decoder, then the decoder again and again; a
/// model that turns back to its encoder restarts the prefetch there. The bits of the weights, and so of every
/// result, do not depend on the placement. Not thread-safe. After an Error the source is unusable.
class RingExpertSource : public ExpertSource {
 public:
  /// Throws Error(device) when the host cannot write the device's memory, Error(bad_input) when the file
  /// cannot be opened.
  RingExpertSource(Device& device, ExpertFile file, std::int64_t n_encoder_sections,
                   const Placement& placement);

  std::span<const ExpertWeights> acquire(Stream& stream, int layer,
                                         std::span<const std::int32_t> counts) override;
  void release(Stream& stream, int layer) override;
  RingStatistics statistics() const;
  const Placement& placement() const { return placement_; }

 private:
  int next_layer(int layer) const;
  void prefetch_from(std::int64_t step, int layer);
  void prefetch(std::int64_t step, int layer);

  ExpertFile file_;
  std::int64_t n_encoder_sections_;
  Placement placement_;
  AsyncReader reader_;
  std::vector<std::unique_ptr<SectionBuffer>> residents_;  // per layer, null when it passes through the ring
  std::vector<int> ring_layers_;                           // in order
  std::unique_ptr<Ring> ring_;
  std::int64_t step_ = 0;  // of the ring, next to be acquired
  // Per layer: what it needed last time; what is fetched ahead for the next time.
  std::vector<std::vector<std::int32_t>> last_counts_;
  FetchStatistics fetch_;
};

}  // namespace moe

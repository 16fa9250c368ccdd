#include "libmoe/store/ring_source.h"

#include <algorithm>

#include "libmoe/base/error.h"

namespace moe {

double RingStatistics::hit_rate() const {
  const std::int64_t n = fetch.n_hits + fetch.n_misses;
  return n == 0 ? 1 : static_cast<double>(fetch.n_hits) / static_cast<double>(n);
}

RingExpertSource::RingExpertSource(Device& device, ExpertFile file, std::int64_t n_encoder_sections,
                                   const Placement& placement)
    : file_(std::move(file)),
      n_encoder_sections_(n_encoder_sections),
      placement_(placement),
      reader_(file_.input) {
  if (!device.host_accessible())
    fail(ErrorCode::device, "device {}: experts from a store need a device whose memory the host can write",
         device.name());
  last_counts_.resize(file_.sections.size());
  const auto n_layers = static_cast<int>(file_.sections.size());
  for (int layer = 0; layer < n_layers; ++layer) {
    const auto at = static_cast<std::size_t>(layer);
    residents_.push_back(nullptr);
    if (!placement_.resident[at]) {
      ring_layers_.push_back(layer);
    } else {
      residents_.back() = std::make_unique<SectionBuffer>(file_, reader_, device, file_.section_bytes(at));
    }
  }
  if (!ring_layers_.empty()) {
    ring_ = std::make_unique<Ring>(file_, reader_, device, placement_.n_slots, placement_.slot_bytes);
    prefetch_from(0, ring_layers_.front());
  }
  for (int layer = 0; layer < n_layers; ++layer)
    if (auto& resident = residents_[static_cast<std::size_t>(layer)]) resident->load(layer);
}

int RingExpertSource::next_layer(int layer) const {
  const auto after = std::upper_bound(ring_layers_.begin(), ring_layers_.end(), layer);
  if (after != ring_layers_.end()) return *after;
  const auto decoder = std::lower_bound(ring_layers_.begin(), ring_layers_.end(), n_encoder_sections_);
  return decoder != ring_layers_.end() ? *decoder : ring_layers_.front();
}

void RingExpertSource::prefetch(std::int64_t step, int layer) {
  ring_->prefetch(step, layer, last_counts_[static_cast<std::size_t>(layer)]);
}

/// The steps from `step` on, as many as there are slots, of which `step` visits `layer`.
void RingExpertSource::prefetch_from(std::int64_t step, int layer) {
  for (std::int64_t s = step; s < step + ring_->n_slots(); ++s, layer = next_layer(layer))
    if (ring_->layer_of(s) != layer) prefetch(s, layer);
}

std::span<const ExpertWeights> RingExpertSource::acquire(Stream&, int layer,
                                                         std::span<const std::int32_t> counts) {
  const auto at = static_cast<std::size_t>(layer);
  MOE_CHECK(at < residents_.size());
  if (residents_[at]) return residents_[at]->need(counts, false, fetch_);
  if (ring_->layer_of(step_) != layer) prefetch_from(step_, layer);
  last_counts_[at].assign(counts.begin(), counts.end());
  return ring_->acquire(step_, counts, fetch_);
}

void RingExpertSource::release(Stream& stream, int layer) {
  if (residents_[static_cast<std::size_t>(layer)]) return;
  stream.synchronize();
  ring_->release(step_);
  const std::int64_t ahead = step_ + ring_->n_slots();
  const int last = ring_->layer_of(ahead - 1);
  ++step_;
  prefetch(ahead, next_layer(last));
}

RingStatistics RingExpertSource::statistics() const {
  return {reader_.bytes_read(), fetch_};
}

}  // namespace moe

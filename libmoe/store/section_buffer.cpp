#include "libmoe/store/section_buffer.h"

#include <chrono>

#include "libmoe/base/error.h"

namespace moe {

SectionBuffer::SectionBuffer(const ExpertFile& file, AsyncReader& reader, Device& device, std::int64_t bytes)
    : file_(&file), reader_(&reader), device_(&device), memory_(bytes) {
  MOE_CHECK(device.host_accessible());
}

SectionBuffer::~SectionBuffer() {
  cancel_all();
}

void SectionBuffer::cancel_all() {
  for (ReadTicketPtr& ticket : tickets_) {
    if (ticket) reader_->cancel(ticket);
    ticket.reset();
  }
}

void SectionBuffer::request(std::size_t expert) {
  const ExpertSection& section = file_->sections[static_cast<std::size_t>(layer_)];
  const std::int64_t stride = file_->layout.stride_bytes();
  const auto at = static_cast<std::int64_t>(expert) * stride;
  tickets_[expert] = reader_->submit({section.extent.offset + at, stride, memory_.data() + at,
                                      section.checksums[expert], layer_, static_cast<int>(expert)});
}

void SectionBuffer::load(int layer, std::span<const std::int32_t> hint) {
  const auto index = static_cast<std::size_t>(layer);
  MOE_CHECK(index < file_->sections.size() && file_->section_bytes(index) <= memory_.bytes());
  if (layer != layer_) {
    cancel_all();
    layer_ = layer;
    tickets_.assign(static_cast<std::size_t>(file_->sections[index].n_experts), nullptr);
    weights_.assign(tickets_.size(), {});
  }
  for (std::size_t e = 0; e < tickets_.size(); ++e)
    if (!tickets_[e] && (hint.empty() || hint[e] > 0)) request(e);
}

std::span<const ExpertWeights> SectionBuffer::need(std::span<const std::int32_t> counts, bool withdraw_others,
                                                   FetchStatistics& statistics) {
  MOE_CHECK(counts.size() == tickets_.size(), "{} counts for {} experts", counts.size(), tickets_.size());
  std::vector<ReadTicketPtr> missing;
  for (std::size_t e = 0; e < counts.size(); ++e) {
    if (counts[e] <= 0) {
      if (withdraw_others && tickets_[e] && !weights_[e].in_weight && reader_->withdraw(tickets_[e]))
        tickets_[e].reset();
      continue;
    }
    if (!tickets_[e]) request(e);
    if (weights_[e].in_weight || reader_->finished(tickets_[e])) {
      ++statistics.n_hits;
    } else {
      ++statistics.n_misses;
      missing.push_back(tickets_[e]);
    }
  }
  if (!missing.empty()) {
    const auto start = std::chrono::steady_clock::now();
    reader_->wait(missing);
    statistics.stall_seconds +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  for (std::size_t e = 0; e < counts.size(); ++e)
    if (counts[e] > 0 && !weights_[e].in_weight) weights_[e] = weights_of(e);
  return weights_;
}

ExpertWeights SectionBuffer::weights_of(std::size_t expert) const {
  const ExpertLayout& layout = file_->layout;
  float* base =
      reinterpret_cast<float*>(memory_.data() + static_cast<std::int64_t>(expert) * layout.stride_bytes());
  return expert_weights([&](std::size_t tensor) {
    const auto& [shape, begin] = layout.tensors()[tensor];
    TensorView view{base + begin, DType::f32, shape, 0, device_};
    view.row_stride = view.row_elements();
    return view;
  });
}

}  // namespace moe

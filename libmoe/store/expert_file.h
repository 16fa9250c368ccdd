// The experts inside a store: one section per MoE layer, an extent that can be read by offset without HDF5.
// Expert e of a section starts at e * stride_bytes and holds its tensors end to end, in the order of
// FeedForwardParameters::tensors(). See man 5 moe-h5.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "libmoe/core/tensor.h"
#include "libmoe/h5/file.h"

namespace moe {

inline constexpr h5::Kind kStoreKind{"moe-store", 1};

/// Where the tensors of one expert lie.
class ExpertLayout {
 public:
  struct Tensor {
    Shape shape;
    std::int64_t begin = 0;  // in floats from the expert's start
  };
  ExpertLayout() = default;
  ExpertLayout(std::int64_t d_model, std::int64_t d_ffn);

  std::int64_t d_model() const { return d_model_; }
  std::int64_t d_ffn() const { return d_ffn_; }
  /// In the order of FeedForwardParameters::tensors().
  const std::vector<Tensor>& tensors() const { return tensors_; }
  std::int64_t n_elements() const { return n_elements_; }
  /// Rounded up to 4096 bytes; zeros fill the rest.
  std::int64_t stride_bytes() const { return (n_elements_ * 4 + 4095) / 4096 * 4096; }

 private:
  std::int64_t d_model_ = 0, d_ffn_ = 0, n_elements_ = 0;
  std::vector<Tensor> tensors_;
};

/// The experts of one MoE layer.
struct ExpertSection {
  std::int64_t n_experts = 0;
  h5::Extent extent{};                   // n_experts * stride_bytes in the file
  std::vector<std::uint64_t> checksums;  // [E] XXH3 of an expert's stride_bytes
  std::vector<std::int64_t> ids;         // [E] original ids
};

struct ExpertFile {
  std::string path;
  ExpertLayout layout;
  std::vector<ExpertSection> sections;              // one per MoE layer, encoder first
  std::shared_ptr<const h5::InputFile> input = {};  // the file itself, open
  std::int64_t section_bytes(std::size_t layer) const {
    return sections[layer].n_experts * layout.stride_bytes();
  }
  std::int64_t total_bytes() const;
};

/// Writes /experts/<layer>, its checksums and ids. tensors: those of the layout as a model has them, each
/// with an axis of experts before its own. Sizes must fit (a bug otherwise).
void write_section(h5::Writer& writer, int layer, const ExpertLayout& layout,
                   std::span<const std::span<const float>> tensors, std::span<const std::int64_t> ids);
/// The layout attributes; once per file.
void write_layout(h5::Writer& writer, const ExpertLayout& layout, std::int64_t n_sections);
/// Throws Error(bad_input) when sections are missing or do not fit their layout or the file's size.
ExpertFile read_expert_file(const h5::Reader& reader);

/// Reads a section through HDF5 and checks every expert: the tensors that write_section() was given. Throws
/// Error(bad_input) naming file, layer and expert.
std::vector<std::vector<float>> read_section(const h5::Reader& reader, const ExpertFile& file,
                                             std::size_t layer);

}  // namespace moe

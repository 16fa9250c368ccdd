// The experts inside a store: one section per MoE layer, an extent that can be read by offset without HDF5.
// Expert e of a section starts at e * stride_bytes and holds in_weight, in_bias, out_weight and out_bias end
// to end. See man 5 moe-h5.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "libmoe/h5/file.h"

namespace moe {

inline constexpr h5::Kind kStoreKind{"moe-store", 1};

/// Where the pieces of one expert lie, in floats from its start.
struct ExpertLayout {
  std::int64_t d_model = 0, d_ffn = 0;
  std::int64_t in_weight() const { return 0; }                              // [D,F]
  std::int64_t in_bias() const { return d_model * d_ffn; }                  // [F]
  std::int64_t out_weight() const { return in_bias() + d_ffn; }             // [F,D]
  std::int64_t out_bias() const { return out_weight() + d_ffn * d_model; }  // [D]
  std::int64_t n_elements() const { return out_bias() + d_model; }
  /// Rounded up to 4096 bytes; zeros fill the rest.
  std::int64_t stride_bytes() const { return (n_elements() * 4 + 4095) / 4096 * 4096; }
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

/// The experts of one layer as a model holds them.
struct ExpertPieces {
  std::span<const float> in_weight, in_bias, out_weight, out_bias;  // [E,D,F], [E,F], [E,F,D], [E,D]
};

/// Writes /experts/<layer>, its checksums and ids. Sizes must fit (a bug otherwise).
void write_section(h5::Writer& writer, int layer, const ExpertLayout& layout, const ExpertPieces& pieces,
                   std::span<const std::int64_t> ids);
/// The layout attributes; once per file.
void write_layout(h5::Writer& writer, const ExpertLayout& layout, std::int64_t n_sections);
/// Throws Error(bad_input) when sections are missing or do not fit their layout or the file's size.
ExpertFile read_expert_file(const h5::Reader& reader);

/// The experts of one layer, owned; shapes as in ExpertPieces.
struct ExpertVectors {
  std::vector<float> in_weight, in_bias, out_weight, out_bias;
};
/// Reads a section through HDF5 and checks every expert. Throws Error(bad_input) naming file, layer and
/// expert.
ExpertVectors read_section(const h5::Reader& reader, const ExpertFile& file, std::size_t layer);

}  // namespace moe

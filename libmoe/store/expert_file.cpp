#include "libmoe/store/expert_file.h"

#include <algorithm>
#include <cstring>

#include "libmoe/base/checksum.h"
#include "libmoe/base/error.h"
#include "libmoe/h5/input_file.h"
#include "libmoe/nn/feed_forward_parameters.h"

namespace moe {
namespace {

constexpr std::int64_t kMaxWidth = 1 << 20;  // of D and F: their product stays far from overflow
constexpr std::int64_t kMaxExperts = 1 << 20;

std::string section_name(std::size_t layer) {
  return fmt::format("/experts/{:04}", layer);
}

}  // namespace

ExpertLayout::ExpertLayout(std::int64_t d_model, std::int64_t d_ffn) : d_model_(d_model), d_ffn_(d_ffn) {
  for (const ParameterSpec& tensor : feed_forward_parameters("expert", d_model, d_ffn).tensors()) {
    tensors_.push_back({tensor.shape(), n_elements_});
    n_elements_ += tensors_.back().shape.n_elements();
  }
}

std::int64_t ExpertFile::total_bytes() const {
  std::int64_t n = 0;
  for (std::size_t layer = 0; layer < sections.size(); ++layer) n += section_bytes(layer);
  return n;
}

void write_layout(h5::Writer& writer, const ExpertLayout& layout, std::int64_t n_sections) {
  writer.make_group("/experts");
  writer.attribute("/experts", "d_model", layout.d_model());
  writer.attribute("/experts", "d_ffn", layout.d_ffn());
  writer.attribute("/experts", "n_sections", n_sections);
}

void write_section(h5::Writer& writer, int layer, const ExpertLayout& layout,
                   std::span<const std::span<const float>> tensors, std::span<const std::int64_t> ids) {
  const std::size_t n_experts = ids.size();
  const auto stride = static_cast<std::size_t>(layout.stride_bytes() / 4);
  MOE_CHECK(tensors.size() == layout.tensors().size());
  std::vector<float> section(n_experts * stride, 0.0f);
  std::vector<std::int64_t> checksums;
  for (std::size_t e = 0; e < n_experts; ++e) {
    float* expert = section.data() + e * stride;
    for (std::size_t t = 0; t < tensors.size(); ++t) {
      const auto& [shape, begin] = layout.tensors()[t];
      const auto n = static_cast<std::size_t>(shape.n_elements());
      MOE_CHECK(tensors[t].size() == n_experts * n);
      std::copy_n(tensors[t].data() + e * n, n, expert + begin);
    }
    checksums.push_back(static_cast<std::int64_t>(checksum(std::as_bytes(std::span(expert, stride)))));
  }
  const std::string name = section_name(static_cast<std::size_t>(layer));
  const auto n = static_cast<std::int64_t>(n_experts);
  writer.write<float>(name, section, {n, static_cast<std::int64_t>(stride)}, h5::Storage::extent);
  writer.write<std::int64_t>(name + "_checksums", checksums, {n});
  writer.write<std::int64_t>(name + "_ids", std::vector<std::int64_t>(ids.begin(), ids.end()), {n});
}

ExpertFile read_expert_file(const h5::Reader& reader) {
  ExpertFile file{reader.path(), {}, {}, reader.file()};
  const std::int64_t d_model = reader.integer_attribute("/experts", "d_model"),
                     d_ffn = reader.integer_attribute("/experts", "d_ffn"),
                     n_sections = reader.integer_attribute("/experts", "n_sections");
  for (const std::int64_t width : {d_model, d_ffn})
    if (width < 1 || width > kMaxWidth) bad_input("{}: /experts: a width of {} cannot be", file.path, width);
  file.layout = ExpertLayout(d_model, d_ffn);
  if (n_sections < 0 || n_sections > 1 << 16)
    bad_input("{}: /experts: {} sections cannot be", file.path, n_sections);
  const auto file_bytes = file.input->bytes();
  const std::int64_t stride = file.layout.stride_bytes();
  for (std::size_t layer = 0; layer < static_cast<std::size_t>(n_sections); ++layer) {
    const std::string name = section_name(layer);
    if (!reader.has(name))
      bad_input("{}: {} is missing; make the store again with moe-shard split", file.path, name);
    const h5::DatasetInfo info = reader.info(name);
    if (info.type != h5::Type::f32 || info.dims.size() != 2 || info.dims[0] < 1 ||
        info.dims[0] > kMaxExperts || info.dims[1] * 4 != stride)
      bad_input("{}: {} does not have the type or shape of expert sections of [{},{}]", file.path, name,
                d_model, d_ffn);
    ExpertSection section;
    section.n_experts = info.dims[0];
    section.extent = reader.extent(name);
    if (section.extent.offset < 0 || section.extent.offset % 4096 != 0 ||
        section.extent.bytes != section.n_experts * stride ||
        section.extent.offset > file_bytes - section.extent.bytes)
      bad_input("{}: {} does not lie inside the file; it was cut short or altered", file.path, name);
    const auto checksums = reader.read<std::int64_t>(name + "_checksums");
    section.checksums.assign(checksums.begin(), checksums.end());
    section.ids = reader.read<std::int64_t>(name + "_ids");
    if (section.checksums.size() != static_cast<std::size_t>(section.n_experts) ||
        section.ids.size() != section.checksums.size())
      bad_input("{}: {}: checksums or ids for another number of experts", file.path, name);
    file.sections.push_back(std::move(section));
  }
  return file;
}

std::vector<std::vector<float>> read_section(const h5::Reader& reader, const ExpertFile& file,
                                             std::size_t layer) {
  const ExpertSection& section = file.sections[layer];
  const std::vector<ExpertLayout::Tensor>& layout = file.layout.tensors();
  const std::string name = section_name(layer);
  const std::int64_t stride = file.layout.stride_bytes() / 4;
  std::vector<std::vector<float>> tensors(layout.size());
  for (std::int64_t e = 0; e < section.n_experts; ++e) {
    const auto values = reader.read_rows<float>(name, e, 1);
    MOE_CHECK(static_cast<std::int64_t>(values.size()) == stride);
    if (checksum(std::as_bytes(std::span(values))) != section.checksums[static_cast<std::size_t>(e)])
      bad_input("{}: MoE layer {}, expert {}: altered since it was written (checksum); restore the file",
                file.path, layer, e);
    for (std::size_t t = 0; t < layout.size(); ++t) {
      const auto begin = values.begin() + layout[t].begin;
      tensors[t].insert(tensors[t].end(), begin, begin + layout[t].shape.n_elements());
    }
  }
  return tensors;
}

}  // namespace moe

#include "libmoe/prune/slice.h"

#include <algorithm>

#include "libmoe/base/error.h"
#include "libmoe/model/expert_names.h"

namespace moe::prune {
namespace {

/// Columns `kept` of an [N,E] matrix.
void slice_columns(HostTensor& tensor, const std::vector<std::int64_t>& kept) {
  const auto n_rows = static_cast<std::size_t>(tensor.dims[0]),
             width = static_cast<std::size_t>(tensor.dims[1]);
  std::vector<float> values;
  values.reserve(n_rows * kept.size());
  for (std::size_t row = 0; row < n_rows; ++row)
    for (std::int64_t e : kept) values.push_back(tensor.values[row * width + static_cast<std::size_t>(e)]);
  tensor.values = std::move(values);
  tensor.dims[1] = static_cast<std::int64_t>(kept.size());
}

/// Indices `kept` of dimension 0.
void slice_rows(HostTensor& tensor, const std::vector<std::int64_t>& kept) {
  const std::size_t n = tensor.values.size() / static_cast<std::size_t>(tensor.dims[0]);
  std::vector<float> values;
  values.reserve(n * kept.size());
  for (std::int64_t e : kept) {
    const auto begin = tensor.values.begin() + e * static_cast<std::ptrdiff_t>(n);
    values.insert(values.end(), begin, begin + static_cast<std::ptrdiff_t>(n));
  }
  tensor.values = std::move(values);
  tensor.dims[0] = static_cast<std::int64_t>(kept.size());
}

HostTensor& find(Checkpoint& checkpoint, const std::string& name, const std::string& where) {
  for (HostTensor& t : checkpoint.parameters)
    if (t.name == name) return t;
  bad_input("{}: the parameter {} is missing", where, name);
}

void check_dimension(const HostTensor& tensor, std::size_t dimension, std::int64_t n,
                     const std::string& where) {
  if (tensor.dims.size() <= dimension || tensor.dims[dimension] != n)
    bad_input("{}: {} has shape [{}]; {} experts were expected in dimension {}", where, tensor.name,
              fmt::join(tensor.dims, ","), n, dimension);
}

}  // namespace

void slice_experts(Checkpoint& checkpoint, const std::vector<std::vector<std::int64_t>>& kept,
                   const std::string& where) {
  const std::vector<std::string> prefixes = moe_prefixes(checkpoint.config);
  MOE_CHECK(kept.size() == prefixes.size() && checkpoint.expert_ids.size() == prefixes.size());
  std::vector<std::int64_t> counts;
  for (std::size_t layer = 0; layer < prefixes.size(); ++layer) {
    const std::int64_t n = checkpoint.config.experts_in(static_cast<int>(layer));
    HostTensor& gate = find(checkpoint, prefixes[layer] + kGateWeight, where);
    check_dimension(gate, 1, n, where);
    slice_columns(gate, kept[layer]);
    for (const char* piece : kExpertPieces) {
      HostTensor& tensor = find(checkpoint, prefixes[layer] + piece, where);
      check_dimension(tensor, 0, n, where);
      slice_rows(tensor, kept[layer]);
    }
    std::vector<std::int64_t> ids;
    for (std::int64_t e : kept[layer])
      ids.push_back(checkpoint.expert_ids[layer][static_cast<std::size_t>(e)]);
    checkpoint.expert_ids[layer] = std::move(ids);
    counts.push_back(static_cast<std::int64_t>(kept[layer].size()));
  }
  checkpoint.config.experts_per_layer = std::move(counts);
  checkpoint.training = {};
}

}  // namespace moe::prune

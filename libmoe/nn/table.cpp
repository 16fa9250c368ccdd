#include "libmoe/nn/table.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "libmoe/core/ops.h"

namespace moe {
namespace {

constexpr std::int64_t kLargestBlock = 64, kBlocksPerPart = 8;

std::int64_t sum_of(const std::vector<std::int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

Slice rows_of_part(const RowPartition& partition, const TableGroups& groups) {
  Slice slice;
  if (groups.all != nullptr) slice.axis[0] = partition.ranges(groups.all->rank());
  return slice;
}

}  // namespace

ParameterSpec vectors_spec(const std::string& name, const Axis& rows, std::int64_t width) {
  return {.name = name,
          .axes = {rows, {width, AxisRole::features}},
          .initialiser = {Initialiser::normal, 1 / std::sqrt(static_cast<float>(width))},
          .weight_decay = true};
}

RowPartition::RowPartition(std::int64_t n_rows, int n_parts)
    : n_rows_(n_rows),
      n_parts_(n_parts),
      block_(std::clamp<std::int64_t>(n_rows / (kBlocksPerPart * n_parts), 1, kLargestBlock)) {
  MOE_CHECK(n_parts >= 1 && (n_parts == 1 || n_parts <= n_rows), "{} rows in {} parts", n_rows, n_parts);
}

std::vector<IndexRange> RowPartition::ranges(int part) const {
  std::vector<IndexRange> ranges;
  if (n_parts_ == 1) return ranges;
  for (std::int64_t begin = part * block_; begin < n_rows_; begin += n_parts_ * block_)
    ranges.push_back({begin, std::min(begin + block_, n_rows_)});
  return ranges;
}

TableGroups table_groups(const ProcessGrid& grid, bool over_data) {
  TableGroups groups;
  if (over_data && grid.data().size() > 1) groups.data = &grid.data();
  if (grid.tensor().size() > 1) groups.tensor = &grid.tensor();
  // The world's ranks are numbered data index * tensor ranks + tensor index.
  groups.all = groups.data == nullptr     ? groups.tensor
               : groups.tensor == nullptr ? groups.data
                                          : &grid.world();
  return groups;
}

Table::Table(ParameterList& parameters, const std::string& name, std::int64_t n_rows, std::int64_t width,
             const TableGroups& groups)
    : partition_(n_rows, groups.all == nullptr ? 1 : groups.all->size()),
      groups_(groups),
      parameter_(&parameters.add(vectors_spec(name, {n_rows, AxisRole::tokens}, width),
                                 rows_of_part(partition_, groups_))) {
  if (groups_.data != nullptr) parameter_->copies = Copies::none;
}

const TensorView& Table::whole() const {
  MOE_CHECK(!divided(), "{} is divided over {} ranks", parameter_->spec.name, partition_.n_parts());
  return parameter_->value;
}

Table::Fetched Table::fetch(Stream& stream, const TensorView& ids) const {
  Fetched f;
  if (!divided()) {
    f.rows = value();
    f.n = n_rows();
    f.index = ids;
    return f;
  }
  // The tokens once each, in the order of tensor index, data index, place. Part = data index * tensor ranks +
  // tensor index.
  const int n_tensor = groups_.tensor == nullptr ? 1 : groups_.tensor->size();
  const int tensor_index = groups_.tensor == nullptr ? 0 : groups_.tensor->rank();
  const int n_data = partition_.n_parts() / n_tensor;
  struct Key {
    int tensor, data;
    std::int64_t place;
    auto operator<=>(const Key&) const = default;
  };
  std::vector<Key> keys, unique;
  for (const std::int32_t id : to_host<std::int32_t>(stream, ids)) {
    const int part = partition_.part_of(id);
    keys.push_back({part % n_tensor, part / n_tensor, partition_.local(id)});
  }
  unique = keys;
  std::ranges::sort(unique);
  unique.erase(std::unique(unique.begin(), unique.end()), unique.end());
  std::vector<std::int32_t> index, places;
  for (const Key& key : keys)
    index.push_back(static_cast<std::int32_t>(std::ranges::lower_bound(unique, key) - unique.begin()));
  f.n = static_cast<std::int64_t>(unique.size());
  f.mine = {f.n, f.n};
  f.n_asked.assign(static_cast<std::size_t>(n_data), 0);
  for (std::int64_t u = 0; u < f.n; ++u) {
    const Key& key = unique[static_cast<std::size_t>(u)];
    if (key.tensor != tensor_index) continue;
    if (places.empty()) f.mine = {u, u};
    f.mine.end = u + 1;
    ++f.n_asked[static_cast<std::size_t>(key.data)];
    places.push_back(static_cast<std::int32_t>(key.place));
  }
  f.own_index = Tensor::from_host<std::int32_t>(stream, index, {static_cast<std::int64_t>(index.size())});
  f.index = f.own_index;
  exchange(stream, f, places);
  return f;
}

// Asks the owners for rows `places` of theirs, and serves what they ask for.
void Table::exchange(Stream& stream, Fetched& f, const std::vector<std::int32_t>& places) const {
  Device& device = stream.device();
  f.own_rows = Tensor(device, {f.n, width()});
  f.rows = f.own_rows;
  if (groups_.tensor != nullptr) ops::fill(stream, 0, f.rows);
  const TensorView mine = f.rows.slice(f.mine.begin, f.mine.end);
  const auto n_places = static_cast<std::int64_t>(places.size());
  const Tensor asked = Tensor::from_host<std::int32_t>(stream, places, {n_places});
  if (groups_.data == nullptr) {
    f.n_served = f.n_asked;
    f.served = Tensor::from_host<std::int32_t>(stream, places, {n_places});
    ops::gather_rows(stream, value(), f.served, mine);
  } else {
    Communicator& data = *groups_.data;
    const std::size_t n = f.n_asked.size();
    std::vector<std::int64_t> all(n * n);
    data.all_gather(f.n_asked, std::span(all));
    for (std::size_t r = 0; r < n; ++r)
      f.n_served.push_back(all[r * n + static_cast<std::size_t>(data.rank())]);
    f.served = Tensor(device, {sum_of(f.n_served)}, DType::i32);
    data.all_to_all(stream, asked, f.n_asked, f.served, f.n_served);
    const Tensor rows(device, {f.served.shape()[0], width()});
    ops::gather_rows(stream, value(), f.served, rows);
    data.all_to_all(stream, rows, f.n_served, mine, f.n_asked);
  }
  if (groups_.tensor != nullptr) groups_.tensor->all_reduce(stream, Reduce::sum, f.rows);
}

void Table::add_gradient(Stream& stream, const Fetched& f, const TensorView& dy, float scale) const {
  if (!divided()) return ops::embedding_backward(stream, f.index, dy, scale, gradient());
  const Tensor drows = Tensor::zeros(stream, {f.n, width()});
  ops::embedding_backward(stream, f.index, dy, scale, drows);
  const TensorView mine = drows.view().slice(f.mine.begin, f.mine.end);
  if (groups_.data == nullptr) return ops::embedding_backward(stream, f.served, mine, 1, gradient());
  const Tensor received(stream.device(), {f.served.shape()[0], width()});
  groups_.data->all_to_all(stream, mine, f.n_asked, received, f.n_served);
  ops::embedding_backward(stream, f.served, received, 1, gradient());
}

}  // namespace moe

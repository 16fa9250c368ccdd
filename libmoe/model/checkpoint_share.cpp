#include "libmoe/model/checkpoint_share.h"

#include <algorithm>
#include <array>

#include "libmoe/base/error.h"

namespace moe {
namespace {

// For each parameter the number of boxes, then their ranges.
std::vector<std::int64_t> encode(const std::vector<TensorShare>& shares) {
  std::vector<std::int64_t> numbers;
  for (const TensorShare& share : shares) {
    numbers.push_back(static_cast<std::int64_t>(share.boxes.size()));
    for (const SliceBox& box : share.boxes)
      for (const IndexRange& r : box.whole.axis) numbers.insert(numbers.end(), {r.begin, r.end});
  }
  return numbers;
}

std::vector<std::vector<Box>> decode(const std::int64_t* number, const std::vector<TensorShare>& shares) {
  std::vector<std::vector<Box>> boxes;
  for (const TensorShare& share : shares) {
    boxes.emplace_back(static_cast<std::size_t>(*number++));
    for (Box& box : boxes.back())
      for (std::size_t a = 0; a < share.parameter->spec.axes.size(); ++a, number += 2)
        box.axis.push_back({number[0], number[1]});
  }
  return boxes;
}

// The same elements as the group counts them.
IndexRange in_group(const TensorShare& share) {
  const std::int64_t offset = share.parameter->offset;
  return {share.range.begin + offset, share.range.end + offset};
}

void release_if(bool release, std::vector<float>& values) {
  if (release) std::vector<float>().swap(values);
}

}  // namespace

std::vector<TensorShare> shares_of(const Transformer& model) {
  const ParameterList& list = model.parameters();
  std::vector<TensorShare> shares;
  for (const auto& p : list.all()) {
    TensorShare& share = shares.emplace_back();
    share.parameter = p.get();
    const IndexRange range = list.share_of(*p);
    if (range.empty()) continue;
    share.range = {range.begin - p->offset, range.end - p->offset};
    share.boxes = slice_boxes(*p, share.range);
  }
  return shares;
}

void copy_shares(Stream& stream, const ParameterList& list, const Adam* adam,
                 std::vector<TensorShare>& shares) {
  const auto copy = [&](const TensorView& from, std::vector<float>& to) {
    to.resize(static_cast<std::size_t>(from.shape.n_elements()));
    stream.copy(to.data(), from.data, from.n_bytes());
  };
  for (TensorShare& share : shares) {
    if (share.range.empty()) continue;
    const ParameterGroup& group = list.group_of(*share.parameter);
    const IndexRange range = in_group(share);
    copy(group.owned_values_at(range), share.values);
    if (!adam) continue;
    const Moments& moments = adam->moments()[share.parameter->group];
    copy(group.owned_part(moments.m, range), share.m);
    copy(group.owned_part(moments.v, range), share.v);
  }
  stream.synchronize();
}

ShareBoxes gather_boxes(Communicator& world, const std::vector<TensorShare>& shares) {
  std::vector<std::int64_t> mine = encode(shares);
  std::array<std::int64_t, 1> most{static_cast<std::int64_t>(mine.size())};
  world.all_reduce(Reduce::max, std::span<std::int64_t>(most));
  mine.resize(static_cast<std::size_t>(most[0]));
  std::vector<std::int64_t> all(mine.size() * static_cast<std::size_t>(world.size()));
  world.all_gather(mine, all);
  ShareBoxes boxes;
  for (std::size_t r = 0; r < static_cast<std::size_t>(world.size()); ++r)
    boxes.push_back(decode(all.data() + r * mine.size(), shares));
  for (std::size_t i = 0; i < shares.size(); ++i) {
    std::vector<Box> whole;
    for (const auto& rank : boxes) whole.insert(whole.end(), rank[i].begin(), rank[i].end());
    MOE_CHECK(boxes_tile(shares[i].parameter->spec.shape().dims(), whole), "{}",
              shares[i].parameter->spec.name);
  }
  return boxes;
}

std::vector<HostCounts> gather_steps(Communicator& world, const ParameterList& list, const Adam& adam) {
  std::vector<std::int64_t> counts;
  for (std::size_t i = 0; i < list.all().size(); ++i) {
    const Parameter& p = *list.all()[i];
    const auto first = static_cast<std::ptrdiff_t>(counts.size());
    counts.resize(counts.size() + static_cast<std::size_t>(p.n_step_counts()));
    std::copy(adam.steps()[i].begin(), adam.steps()[i].end(), counts.begin() + first + p.first_expert());
  }
  world.all_reduce(Reduce::max, std::span(counts));
  std::vector<HostCounts> steps;
  auto next = counts.begin();
  for (const auto& p : list.all()) {
    const std::int64_t n = p->n_step_counts();
    steps.push_back({p->spec.name, {n}, std::vector<std::int64_t>(next, next + n)});
    next += n;
  }
  return steps;
}

void scatter_steps(const HostCounts& counts, const Parameter& p, const std::string& where,
                   std::vector<std::int64_t>& steps) {
  const auto first = static_cast<std::size_t>(p.first_expert());
  for (std::size_t e = 0; e < steps.size(); ++e) {
    steps[e] = counts.values[first + e];
    if (steps[e] < 0) bad_input("{}: {} steps of '{}' make no sense", where, steps[e], p.spec.name);
  }
}

void write_share(h5::Writer& writer, ShareKind kind, TensorShare& share, bool release) {
  if (share.range.empty()) return;
  const Parameter& p = *share.parameter;
  std::vector<float>& values = share.*kind.values;
  const std::vector<std::int64_t> dims{share.range.size()};
  if (p.slice.whole())
    writer.write<float>(kind.prefix + p.spec.name, values, dims, h5::Storage::extent);
  else
    writer.write<float>(kind.prefix + p.spec.name, packed(p, share.range, share.boxes, values), dims,
                        h5::Storage::extent);
  release_if(release, values);
}

void write_whole(h5::Writer& writer, ShareKind kind, TensorShare& share, bool release) {
  const Parameter& p = *share.parameter;
  std::vector<float>& values = share.*kind.values;
  MOE_CHECK(static_cast<std::int64_t>(values.size()) == p.spec.shape().n_elements(), "{}", p.spec.name);
  writer.write<float>(kind.prefix + p.spec.name, values, p.spec.shape().dims(), h5::Storage::extent);
  release_if(release, values);
}

}  // namespace moe

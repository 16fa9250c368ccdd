#include "libmoe/parallel/data_parallel.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "libmoe/core/ops.h"

namespace moe {

DataParallel::DataParallel(const ProcessGrid& grid, ParameterList& parameters, bool overlap)
    : grid_(grid), parameters_(parameters), overlap_(overlap) {
  for (const ParameterGroup& group : parameters.groups()) {
    Communicator* copies = group.copies == Copies::data          ? &grid.data()
                           : group.copies == Copies::expert_data ? &grid.expert_data()
                                                                 : nullptr;
    MOE_CHECK(group.n_copies == (copies == nullptr ? 1 : copies->size()));
    parts_.push_back({.copies = copies});
    n_units_ = std::max(n_units_, group.unit + 1);
  }
}

bool DataParallel::divides(const ParameterGroup& group, int stage) const {
  return group.n_copies > 1 && parameters_.sharding().zero_stage >= stage;
}

std::vector<std::size_t> DataParallel::groups_of(int unit) const {
  std::vector<std::size_t> found;
  for (std::size_t g = 0; g < parts_.size(); ++g)
    if (parameters_.groups()[g].unit == unit) found.push_back(g);
  return found;
}

void DataParallel::begin_update(Stream& stream) {
  parameters_.begin_gradients(stream);
}

void DataParallel::start_gather(Stream& stream, std::size_t g) {
  const ParameterGroup& group = parameters_.groups()[g];
  Part& part = parts_[g];
  if (!divides(group, 3) || part.values) return;
  part.values = Tensor(stream.device(), {group.n_elements});
  part.gather = part.copies->start_all_gather(stream, group.owned_values, part.values);
}

void DataParallel::before_use(Stream& stream, int unit, bool backward) {
  for (const std::size_t g : groups_of(unit)) {
    ParameterGroup& group = parameters_.groups()[g];
    Part& part = parts_[g];
    start_gather(stream, g);
    if (part.gather) {
      part.gather->wait();
      part.gather.reset();
      group.bind_values(part.values);
    }
    ++part.passes;
    if (!backward || !divides(group, 2)) continue;
    part.gradients = Tensor::zeros(stream, {group.n_elements});
    group.bind_gradients(part.gradients);
  }
  const int next = unit + (backward ? -1 : 1);
  if (!overlap_ || unit == 0 || next < 1 || next >= n_units_) return;
  for (const std::size_t g : groups_of(next)) start_gather(stream, g);
}

void DataParallel::after_use(Stream& stream, int unit, bool backward) {
  for (const std::size_t g : groups_of(unit)) {
    ParameterGroup& group = parameters_.groups()[g];
    Part& part = parts_[g];
    if (--part.passes == 0 && divides(group, 3)) {
      group.bind_values({});
      part.values = Tensor();
    }
    if (!backward || group.n_copies == 1) continue;
    if (last_pass_ || divides(group, 2)) start_reduction(stream, g);
  }
  finish_reductions(stream, overlap_ ? kReductionsAhead : 0);
}

void DataParallel::start_reduction(Stream& stream, std::size_t g) {
  ParameterGroup& group = parameters_.groups()[g];
  Part& part = parts_[g];
  Reduction reduction{.group = g};
  if (divides(group, 2)) {
    group.bind_gradients({});
    reduction.all = std::move(part.gradients);
    reduction.share = Tensor(stream.device(), {group.share.size()});
    reduction.pending = part.copies->start_reduce_scatter(stream, reduction.all, reduction.share);
  } else {
    parameters_.finish_gradients(stream, group);
    reduction.pending =
        divides(group, 1) ? part.copies->start_reduce_scatter(stream, group.gradients, group.owned_gradients)
                          : part.copies->start_all_reduce(stream, Reduce::sum, group.gradients);
  }
  reductions_.push_back(std::move(reduction));
}

void DataParallel::finish_reductions(Stream& stream, std::size_t leave) {
  for (Reduction& r : reductions_) r.pending->test();
  while (reductions_.size() > leave) {
    Reduction& r = reductions_.front();
    r.pending->wait();
    if (r.share) ops::add_scaled(stream, 1, r.share, parameters_.groups()[r.group].owned_gradients);
    reductions_.pop_front();
  }
}

void DataParallel::finish_gradients(Stream& stream) {
  finish_reductions(stream, 0);
  for (const ParameterGroup& group : parameters_.groups())
    if (group.n_copies == 1) parameters_.finish_gradients(stream, group);
  share_touched();
}

void DataParallel::share_touched() {
  if (grid_.expert_data().size() == 1) return;
  std::vector<std::int64_t> flags;
  for (const auto& p : parameters_.all()) flags.insert(flags.end(), p->touched.begin(), p->touched.end());
  grid_.expert_data().all_reduce(Reduce::max, std::span(flags));
  auto flag = flags.begin();
  for (const auto& p : parameters_.all())
    for (std::uint8_t& touched : p->touched) touched = static_cast<std::uint8_t>(*flag++);
}

double DataParallel::gradient_norm(Stream& stream, double with) const {
  std::array<double, 1> sum{gradient_sum_of_squares(stream, parameters_)};
  if (!std::isfinite(with)) sum[0] = std::numeric_limits<double>::quiet_NaN();
  grid_.world().all_reduce(Reduce::sum, std::span<double>(sum));
  return std::sqrt(sum[0]);
}

std::optional<BadTensor> DataParallel::first_bad_tensor(Stream& stream) const {
  const std::optional<BadTensor> mine = moe::first_bad_tensor(stream, parameters_);
  // Of all ranks the least: parameters, then gradients from the back of the list; the first expert of each.
  const auto n = static_cast<std::int64_t>(parameters_.all().size());
  std::array<std::int64_t, 1> key{-(2 * n << 32)};
  if (mine) {
    const auto place = static_cast<std::int64_t>(mine->parameter);
    key[0] = -(((mine->gradient ? 2 * n - 1 - place : place) << 32) + mine->expert + 1);
  }
  grid_.world().all_reduce(Reduce::max, std::span<std::int64_t>(key));
  const std::int64_t place = -key[0] >> 32, expert = (-key[0] & 0xffffffff) - 1;
  if (place == 2 * n) return std::nullopt;
  return BadTensor{place >= n, static_cast<std::size_t>(place < n ? place : 2 * n - 1 - place), expert};
}

void DataParallel::publish_values(Stream& stream) {
  std::vector<PendingPtr> pending;
  for (std::size_t g = 0; g < parts_.size(); ++g) {
    const ParameterGroup& group = parameters_.groups()[g];
    if (divides(group, 1) && !divides(group, 3))
      pending.push_back(parts_[g].copies->start_all_gather(stream, group.owned_values, group.values));
  }
  for (PendingPtr& p : pending) p->wait();
}

}  // namespace moe

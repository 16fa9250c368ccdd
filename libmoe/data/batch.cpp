#include "libmoe/data/batch.h"

#include <algorithm>
#include <numeric>

namespace moe {
namespace {

std::int64_t first_row(const Ragged& rows, std::size_t sentence) {
  return sentence < rows.begin.size() ? rows.begin[sentence] : rows.n_tokens();
}

Ragged part_of(const Ragged& rows, std::size_t begin, std::size_t end) {
  Ragged part;
  for (std::size_t b = begin; b < std::min(end, rows.begin.size()); ++b)
    part.add({rows.tokens.begin() + rows.begin[b], rows.tokens.begin() + rows.begin[b] + rows.length[b]});
  return part;
}

}  // namespace

std::vector<std::size_t> divide_batch(const std::vector<double>& cost, int n_ranks) {
  const double total = std::accumulate(cost.begin(), cost.end(), 0.0);
  std::vector<std::size_t> begin{0};
  std::size_t b = 0;
  double before = 0;
  for (int r = 1; r < n_ranks; ++r) {
    // A sentence belongs to the rank in whose share of the cost its middle lies.
    for (; b < cost.size() && (2 * before + cost[b]) * n_ranks <= 2 * total * r; ++b) before += cost[b];
    begin.push_back(b);
  }
  begin.push_back(cost.size());
  return begin;
}

Batch part_of_batch(const Batch& batch, int rank, int n_ranks) {
  std::vector<double> rows;
  for (std::size_t b = 0; b < batch.target.length.size(); ++b)
    rows.push_back(static_cast<double>(batch.rows_of(b)));
  return part_of_batch(batch, rank, divide_batch(rows, n_ranks));
}

Batch part_of_batch(const Batch& batch, int rank, const std::vector<std::size_t>& begin) {
  if (begin.size() == 2) return batch;
  const std::size_t b = begin[static_cast<std::size_t>(rank)], e = begin[static_cast<std::size_t>(rank) + 1];
  Batch part;
  part.source = part_of(batch.source, b, e);
  part.target = part_of(batch.target, b, e);
  const std::int64_t first_target = first_row(batch.target, b);
  part.labels.assign(batch.labels.begin() + first_target,
                     batch.labels.begin() + first_target + part.target.n_tokens());
  const auto copy = [&](const auto& from, auto& to) {
    if (!from.empty())
      to.assign(from.begin() + static_cast<std::ptrdiff_t>(b), from.begin() + static_cast<std::ptrdiff_t>(e));
  };
  copy(batch.language, part.language);
  copy(batch.task, part.task);
  copy(batch.drawn_from, part.drawn_from);
  part.first_source_row = batch.first_source_row + first_row(batch.source, b);
  part.first_target_row = batch.first_target_row + first_target;
  for (std::size_t r = 0; r + 1 < begin.size(); ++r) {
    part.source_rows_by_rank.push_back(first_row(batch.source, begin[r + 1]) -
                                       first_row(batch.source, begin[r]));
    part.target_rows_by_rank.push_back(first_row(batch.target, begin[r + 1]) -
                                       first_row(batch.target, begin[r]));
  }
  return part;
}

}  // namespace moe

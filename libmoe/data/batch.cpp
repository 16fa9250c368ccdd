#include "libmoe/data/batch.h"

#include <algorithm>

#include "libmoe/base/range.h"

namespace moe {
namespace {

// First sentences of each rank, and one past the last.
std::vector<std::size_t> divide(const Batch& batch, int n_ranks) {
  const std::size_t n = batch.target.length.size();
  std::int64_t total = batch.source.n_tokens() + batch.target.n_tokens(), rows = 0;
  std::vector<std::size_t> begin{0};
  std::size_t b = 0;
  for (int r = 1; r < n_ranks; ++r) {
    // A sentence belongs to the rank in whose share of the rows its middle lies.
    for (; b < n; ++b) {
      const std::int64_t length =
          batch.target.length[b] + (batch.source.length.empty() ? 0 : batch.source.length[b]);
      if ((2 * rows + length) * n_ranks > 2 * total * r) break;
      rows += length;
    }
    begin.push_back(b);
  }
  begin.push_back(n);
  return begin;
}

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

Batch part_of_batch(const Batch& batch, int rank, int n_ranks) {
  if (n_ranks == 1) return batch;
  const std::vector<std::size_t> begin = divide(batch, n_ranks);
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

#include "libmoe/moe/micro_batch.h"

#include <algorithm>
#include <numeric>

namespace moe {
namespace {

// [t,K] of each rank -> [T,K]. Every rank sends as many rows as the one with most.
Tensor gather_rows_of_ranks(Stream& stream, Communicator& data, const MicroBatchRows& rows,
                            const TensorView& mine) {
  Device& device = stream.device();
  const std::int64_t k = mine.shape[1], most = *std::max_element(rows.by_rank.begin(), rows.by_rank.end());
  const Tensor padded = Tensor::zeros(stream, {most, k}, mine.dtype);
  stream.copy(padded.view().data, mine.data, mine.n_bytes());
  const Tensor blocks(device, {data.size() * most, k}, mine.dtype);
  data.all_gather(stream, padded, blocks);
  Tensor all(device, {rows.n_rows, k}, mine.dtype);
  std::int64_t row = 0;
  for (std::size_t r = 0; r < rows.by_rank.size(); ++r) {
    const std::int64_t n = rows.by_rank[r], block = static_cast<std::int64_t>(r) * most;
    const TensorView from = blocks.view().slice(block, block + n);
    stream.copy(all.view().slice(row, row + n).data, from.data, from.n_bytes());
    row += n;
  }
  return all;
}

}  // namespace

MicroBatchRows micro_batch_rows(const Communicator& data, const std::vector<std::int64_t>& by_rank,
                                std::int64_t n_tokens) {
  if (by_rank.empty()) return {{0, n_tokens}, n_tokens, {}};
  const auto rank = static_cast<std::size_t>(data.rank());
  MOE_CHECK(by_rank.size() == static_cast<std::size_t>(data.size()) && by_rank[rank] == n_tokens,
            "{} tokens on rank {} of {}", n_tokens, rank, by_rank.size());
  const auto mine = by_rank.begin() + data.rank();
  const std::int64_t before = std::accumulate(by_rank.begin(), mine, std::int64_t{0});
  return {{before, before + n_tokens}, std::accumulate(mine, by_rank.end(), before), by_rank};
}

CompetingChoices gather_choices(Stream& stream, Communicator& data, const MicroBatchRows& rows,
                                const TensorView& index, const TensorView& probability) {
  CompetingChoices choices;
  choices.mine = rows.mine;
  choices.first_choice = rows.mine.begin * index.shape[1];
  choices.all_index = gather_rows_of_ranks(stream, data, rows, index);
  choices.index = choices.all_index;
  if (!probability) return choices;
  choices.all_probability = gather_rows_of_ranks(stream, data, rows, probability);
  choices.probability = choices.all_probability;
  return choices;
}

}  // namespace moe

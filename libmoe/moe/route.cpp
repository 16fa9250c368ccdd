#include "libmoe/moe/route.h"

#include <algorithm>

#include "libmoe/base/error.h"

namespace moe {
namespace {

bool rises_by_one(const std::vector<std::int32_t>& v) {
  for (std::size_t i = 0; i < v.size(); ++i)
    if (v[i] != static_cast<std::int32_t>(i)) return false;
  return true;
}

IndexRange part_of_range(IndexRange range, int parts, int index) {
  const IndexRange part = part_of(range.size(), parts, index);
  return {range.begin + part.begin, range.begin + part.end};
}

// How the rows of all ranks for all experts are cut: by owner of the expert, stage and tensor rank.
class Cut {
 public:
  Cut(std::span<const std::int64_t> rows, const RouteRanks& ranks, int n_stages)
      : rows_(rows), ranks_(ranks), n_stages_(n_stages) {
    n_experts_ = static_cast<std::int64_t>(rows.size()) / ranks.n_ranks;
    const std::int64_t most = part_of(n_experts_, ranks.n_ranks, 0).size();
    chunks_ = most == 0 ? 1 : (n_stages + most - 1) / most;
  }
  const RouteRanks& ranks() const { return ranks_; }
  int n_stages() const { return n_stages_; }
  std::int64_t n_experts() const { return n_experts_; }
  IndexRange experts(int rank) const { return part_of(n_experts_, ranks_.n_ranks, rank); }
  std::int64_t rows(int source, std::int64_t e) const {
    return rows_[static_cast<std::size_t>(source * n_experts_ + e)];
  }
  /// Of the rows that `source` has for expert `e` of rank `owner`: those of the stage.
  IndexRange piece(int source, int owner, std::int64_t e, int stage) const {
    const IndexRange mine = experts(owner);
    // Units are chunks of experts' rows, in the order of experts.
    const IndexRange units = part_of(mine.size() * chunks_, n_stages_, stage);
    const std::int64_t first = (e - mine.begin) * chunks_;
    const IndexRange chunks = intersection(units, {first, first + chunks_});
    if (chunks.empty()) return {0, 0};
    return {begin_of(rows(source, e), chunks.begin - first), begin_of(rows(source, e), chunks.end - first)};
  }
  /// Of that piece: what tensor rank `tensor` sends.
  IndexRange piece(int source, int owner, std::int64_t e, int stage, int tensor) const {
    return part_of_range(piece(source, owner, e, stage), ranks_.n_tensor, tensor);
  }

 private:
  std::int64_t begin_of(std::int64_t n, std::int64_t chunk) const {
    return chunk == chunks_ ? n : part_of(n, static_cast<int>(chunks_), static_cast<int>(chunk)).begin;
  }
  std::span<const std::int64_t> rows_;
  RouteRanks ranks_;
  int n_stages_;
  std::int64_t n_experts_ = 0, chunks_ = 1;
};

// Rows of the plan that a tensor rank sends, in the order in which it does. visit(stage, owner, plan row).
template <class Visit>
void for_each_own_row(const Cut& cut, int tensor, const Visit& visit) {
  const int rank = cut.ranks().rank;
  for (int stage = 0; stage < cut.n_stages(); ++stage) {
    std::int64_t begin = 0;  // of the expert in the plan
    for (int owner = 0; owner < cut.ranks().n_ranks; ++owner)
      for (std::int64_t e = cut.experts(owner).begin; e < cut.experts(owner).end; ++e) {
        const IndexRange piece = cut.piece(rank, owner, e, stage, tensor);
        for (std::int64_t i = piece.begin; i < piece.end; ++i) visit(stage, owner, begin + i);
        begin += cut.rows(rank, e);
      }
  }
}

void fill_sent(const Cut& cut, RouteSizes& route) {
  const RouteRanks& ranks = cut.ranks();
  std::vector<std::int64_t> n_own(static_cast<std::size_t>(ranks.n_tensor));
  for (int tensor = 0; tensor < ranks.n_tensor; ++tensor)
    for_each_own_row(cut, tensor, [&](int stage, int owner, std::int64_t row) {
      ++n_own[static_cast<std::size_t>(tensor)];
      ++route.send_rows[static_cast<std::size_t>(owner)];
      if (tensor != ranks.tensor_rank) return;
      StageSizes& s = route.stages[static_cast<std::size_t>(stage)];
      ++s.send_rows[static_cast<std::size_t>(owner)];
      route.own_rows.push_back(static_cast<std::int32_t>(row));
    });
  std::int64_t n_rows = 0, begin = 0;
  for (const std::int64_t n : n_own) n_rows += n;
  route.own_block = *std::max_element(n_own.begin(), n_own.end());
  route.place.resize(static_cast<std::size_t>(n_rows));
  for (int tensor = 0; tensor < ranks.n_tensor; ++tensor) {
    std::int64_t next = tensor * route.own_block;
    for_each_own_row(cut, tensor, [&](int, int, std::int64_t row) {
      route.place[static_cast<std::size_t>(row)] = static_cast<std::int32_t>(next++);
    });
  }
  for (StageSizes& s : route.stages) {
    s.own = {begin, begin};
    for (const std::int64_t n : s.send_rows) s.own.end += n;
    begin = s.own.end;
  }
}

// Where the rows of a stage come from, and go to once they are here.
void fill_received(const Cut& cut, int stage, RouteSizes& route) {
  const RouteRanks& ranks = cut.ranks();
  const IndexRange mine = cut.experts(ranks.rank);
  StageSizes& s = route.stages[static_cast<std::size_t>(stage)];
  const auto n_tensor = static_cast<std::size_t>(ranks.n_tensor);
  const auto n_ranks = static_cast<std::size_t>(ranks.n_ranks);
  // By tensor rank and source: where its next row lies in the block; by source and expert: among all.
  std::vector<std::vector<std::int64_t>> next(n_tensor, std::vector<std::int64_t>(n_ranks));
  for (std::size_t t = 0; t < n_tensor; ++t) {
    std::int64_t n = 0;
    for (std::size_t r = 0; r < n_ranks; ++r) {
      next[t][r] = n;
      for (std::int64_t e = mine.begin; e < mine.end; ++e)
        n += cut.piece(static_cast<int>(r), ranks.rank, e, stage, static_cast<int>(t)).size();
      if (static_cast<int>(t) == ranks.tensor_rank) s.receive_rows[r] = n - next[t][r];
    }
    if (static_cast<int>(t) == ranks.tensor_rank) s.n_own_received = n;
    s.block = std::max(s.block, n);
  }
  std::vector<std::int64_t> first(n_ranks);  // of each source, among all rows that come here
  for (std::size_t r = 0; r + 1 < n_ranks; ++r) first[r + 1] = first[r] + route.receive_rows[r];
  s.by_rank.assign(n_tensor * static_cast<std::size_t>(s.block), -1);
  s.offsets.push_back(0);
  for (std::int64_t e = mine.begin; e < mine.end; ++e) {
    for (std::size_t r = 0; r < n_ranks; ++r) {
      for (std::size_t t = 0; t < n_tensor; ++t) {
        const IndexRange piece = cut.piece(static_cast<int>(r), ranks.rank, e, stage, static_cast<int>(t));
        for (std::int64_t i = piece.begin; i < piece.end; ++i) {
          const std::int64_t from = static_cast<std::int64_t>(t) * s.block + next[t][r]++;
          s.by_rank[static_cast<std::size_t>(from)] = static_cast<std::int32_t>(s.by_expert.size());
          s.by_expert.push_back(static_cast<std::int32_t>(from));
          s.arrival.push_back(static_cast<std::int32_t>(first[r] + i));
        }
      }
      first[r] += cut.rows(static_cast<int>(r), e);
    }
    s.offsets.push_back(static_cast<std::int32_t>(s.by_expert.size()));
  }
  s.received = {route.n_received, route.n_received + s.offsets.back()};
  route.n_received = s.received.end;
}

}  // namespace

bool StageSizes::same_order() const {
  return rises_by_one(by_expert);
}
bool RouteSizes::plan_order() const {
  return own_rows.size() == place.size() && rises_by_one(own_rows);
}

RouteSizes route_sizes(std::span<const std::int64_t> rows, const RouteRanks& ranks, int n_stages) {
  MOE_CHECK(ranks.n_ranks > 0 && n_stages > 0 && rows.size() % static_cast<std::size_t>(ranks.n_ranks) == 0);
  const Cut cut(rows, ranks, n_stages);
  const auto n_ranks = static_cast<std::size_t>(ranks.n_ranks);
  RouteSizes route;
  route.stages.resize(static_cast<std::size_t>(n_stages));
  for (StageSizes& s : route.stages) {
    s.send_rows.resize(n_ranks);
    s.receive_rows.resize(n_ranks);
  }
  route.send_rows.resize(n_ranks);
  const IndexRange mine = cut.experts(ranks.rank);
  for (int r = 0; r < ranks.n_ranks; ++r) {
    std::int64_t& n = route.receive_rows.emplace_back(0);
    for (std::int64_t e = mine.begin; e < mine.end; ++e) n += cut.rows(r, e);
  }
  fill_sent(cut, route);
  for (int stage = 0; stage < n_stages; ++stage) fill_received(cut, stage, route);
  return route;
}

}  // namespace moe

#include "libmoe/moe/route.h"

#include <numeric>

#include "libmoe/base/error.h"

namespace moe {
namespace {

bool rises_by_one(const std::vector<std::int32_t>& v) {
  for (std::size_t i = 0; i < v.size(); ++i)
    if (v[i] != static_cast<std::int32_t>(i)) return false;
  return true;
}

// How the rows of all ranks for all experts are cut into stages.
class Cut {
 public:
  Cut(std::span<const std::int64_t> rows, int n_ranks, int n_stages)
      : rows_(rows), n_ranks_(n_ranks), n_stages_(n_stages) {
    n_experts_ = static_cast<std::int64_t>(rows.size()) / n_ranks;
    const std::int64_t most = part_of(n_experts_, n_ranks, 0).size();
    chunks_ = most == 0 ? 1 : (n_stages + most - 1) / most;
  }
  IndexRange experts(int rank) const { return part_of(n_experts_, n_ranks_, rank); }
  /// Of the rows that `source` has for expert `e` of rank `owner`: those of the stage.
  IndexRange piece(int source, int owner, std::int64_t e, int stage) const {
    const IndexRange mine = experts(owner);
    const std::int64_t n = rows_[static_cast<std::size_t>(source * n_experts_ + e)];
    // Units are chunks of experts' rows, in the order of experts.
    const IndexRange units = part_of(mine.size() * chunks_, n_stages_, stage);
    const std::int64_t first = (e - mine.begin) * chunks_;
    const IndexRange chunks = intersection(units, {first, first + chunks_});
    if (chunks.empty()) return {0, 0};
    return {begin_of(n, chunks.begin - first), begin_of(n, chunks.end - first)};
  }

 private:
  std::int64_t begin_of(std::int64_t n, std::int64_t chunk) const {
    return chunk == chunks_ ? n : part_of(n, static_cast<int>(chunks_), static_cast<int>(chunk)).begin;
  }
  std::span<const std::int64_t> rows_;
  int n_ranks_, n_stages_;
  std::int64_t n_experts_, chunks_;
};

// Where the rows come from and go to once they are here.
void fill_received(const Cut& cut, int n_ranks, int rank, int stage, StageSizes& s) {
  const IndexRange mine = cut.experts(rank);
  std::vector<std::int32_t> next;  // by rank: the next row of each source
  std::int32_t n = 0;
  for (int r = 0; r < n_ranks; ++r) {
    next.push_back(n);
    for (std::int64_t e = mine.begin; e < mine.end; ++e)
      n += static_cast<std::int32_t>(cut.piece(r, rank, e, stage).size());
    s.receive_rows.push_back(n - next.back());
  }
  s.offsets.push_back(0);
  s.by_rank.resize(static_cast<std::size_t>(n));
  for (std::int64_t e = mine.begin; e < mine.end; ++e) {
    for (int r = 0; r < n_ranks; ++r)
      for (std::int64_t i = cut.piece(r, rank, e, stage).size(); i > 0; --i) {
        const std::int32_t from = next[static_cast<std::size_t>(r)]++;
        s.by_rank[static_cast<std::size_t>(from)] = static_cast<std::int32_t>(s.by_expert.size());
        s.by_expert.push_back(from);
      }
    s.offsets.push_back(static_cast<std::int32_t>(s.by_expert.size()));
  }
}

}  // namespace

bool StageSizes::same_order() const {
  return rises_by_one(by_expert);
}
bool RouteSizes::plan_order() const {
  return rises_by_one(order);
}

RouteSizes route_sizes(std::span<const std::int64_t> rows, int n_ranks, int rank, int n_stages) {
  MOE_CHECK(n_ranks > 0 && n_stages > 0 && rows.size() % static_cast<std::size_t>(n_ranks) == 0);
  const Cut cut(rows, n_ranks, n_stages);
  const std::int64_t n_experts = static_cast<std::int64_t>(rows.size()) / n_ranks;
  std::vector<std::int64_t> begin(static_cast<std::size_t>(n_experts) + 1);  // of experts in the plan
  for (std::size_t e = 0; e < static_cast<std::size_t>(n_experts); ++e)
    begin[e + 1] = begin[e] + rows[static_cast<std::size_t>(rank * n_experts) + e];
  RouteSizes route;
  for (int stage = 0; stage < n_stages; ++stage) {
    StageSizes s;
    s.sent.begin = route.n_sent;
    for (int owner = 0; owner < n_ranks; ++owner) {
      const std::int64_t before = route.n_sent;
      for (std::int64_t e = cut.experts(owner).begin; e < cut.experts(owner).end; ++e) {
        const IndexRange piece = cut.piece(rank, owner, e, stage);
        for (std::int64_t i = piece.begin; i < piece.end; ++i)
          route.order.push_back(static_cast<std::int32_t>(begin[static_cast<std::size_t>(e)] + i));
        route.n_sent += piece.size();
      }
      s.send_rows.push_back(route.n_sent - before);
    }
    s.sent.end = route.n_sent;
    fill_received(cut, n_ranks, rank, stage, s);
    s.received = {route.n_received, route.n_received + s.offsets.back()};
    route.n_received = s.received.end;
    route.stages.push_back(std::move(s));
  }
  return route;
}

}  // namespace moe

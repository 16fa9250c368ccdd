#include "libmoe/moe/expert_parallel.h"

#include "libmoe/core/ops.h"

namespace moe {
namespace {

Tensor upload(Stream& stream, const std::vector<std::int32_t>& values) {
  return Tensor::from_host<std::int32_t>(stream, values, {static_cast<std::int64_t>(values.size())});
}

// Puts the plan's rows into the order of the route.
void reorder(Stream& stream, const std::vector<std::int32_t>& order, Plan& plan) {
  std::vector<std::int32_t> place(order.size());
  for (std::size_t i = 0; i < order.size(); ++i)
    place[static_cast<std::size_t>(order[i])] = static_cast<std::int32_t>(i);
  auto row = to_host<std::int32_t>(stream, plan.row);
  for (std::int32_t& r : row)
    if (r >= 0) r = place[static_cast<std::size_t>(r)];
  copy_from_host<std::int32_t>(stream, row, plan.row);
  for (const Tensor* t : {&plan.token, &plan.choice}) {
    const auto old = to_host<std::int32_t>(stream, *t);
    auto values = old;
    for (std::size_t i = 0; i < order.size(); ++i) values[i] = old[static_cast<std::size_t>(order[i])];
    copy_from_host<std::int32_t>(stream, values, *t);
  }
}

// One stage on its way to the experts.
struct Arrival {
  Tensor by_rank;    // [n,D] as they come, where the experts want another order
  Tensor by_expert;  // [n,D] where nobody keeps them
  TensorView rows;   // what the experts read
  PendingPtr pending;
};

// One stage on its way back.
struct Departure {
  Tensor by_expert, by_rank;  // [n,D]
  PendingPtr pending;
};

}  // namespace

Tensor ExpertParallelDispatcher::received_choices(Stream& stream, const Plan& plan,
                                                  const StageSizes& sizes) const {
  const Tensor by_rank(stream.device(), {sizes.received.size()}, DType::i32);
  group_->all_to_all(stream, plan.choice.view().slice(sizes.sent.begin, sizes.sent.end), sizes.send_rows,
                     by_rank, sizes.receive_rows);
  const auto values = to_host<std::int32_t>(stream, by_rank);
  std::vector<std::int32_t> by_expert;
  for (const std::int32_t i : sizes.by_expert) by_expert.push_back(values[static_cast<std::size_t>(i)]);
  return upload(stream, by_expert);
}

Route ExpertParallelDispatcher::route(Stream& stream, Plan& plan, bool with_choices) const {
  const int n_ranks = group_->size();
  std::vector<std::int64_t> mine, all(static_cast<std::size_t>(plan.n_experts() * n_ranks));
  for (std::int64_t e = 0; e < plan.n_experts(); ++e) mine.push_back(plan.n_rows(e));
  group_->all_gather(mine, all);
  RouteSizes sizes = route_sizes(all, n_ranks, group_->rank(), 1);
  if (!sizes.plan_order()) reorder(stream, sizes.order, plan);
  Route route;
  route.n_received = sizes.n_received;
  for (StageSizes& s : sizes.stages) {
    Route::Stage& stage = route.stages.emplace_back();
    stage.sizes = std::move(s);
    stage.offsets = upload(stream, stage.sizes.offsets);
    if (!stage.sizes.same_order()) {
      stage.by_expert = upload(stream, stage.sizes.by_expert);
      stage.by_rank = upload(stream, stage.sizes.by_rank);
    }
    if (with_choices) stage.choice = received_choices(stream, plan, stage.sizes);
    stage.experts = {stage.sizes.offsets, stage.offsets, stage.choice};
  }
  return route;
}

void ExpertParallelDispatcher::run(Stream& stream, const Route& route, const TensorView& rows,
                                   const TensorView& received, const Work& work,
                                   const TensorView& results) const {
  Device& device = stream.device();
  const std::int64_t d = rows.shape[1];
  const auto start = [&](const Route::Stage& stage) {
    const StageSizes& s = stage.sizes;
    const Shape shape{s.received.size(), d};
    Arrival a;
    if (!received) a.by_expert = Tensor(device, shape);
    a.rows = received ? received.slice(s.received.begin, s.received.end) : a.by_expert.view();
    if (stage.by_expert) a.by_rank = Tensor(device, shape);
    a.pending = group_->start_all_to_all(stream, rows.slice(s.sent.begin, s.sent.end), s.send_rows,
                                         stage.by_expert ? a.by_rank.view() : a.rows, s.receive_rows);
    return a;
  };
  const auto finish = [&](const Route::Stage& stage, Arrival& a) {
    a.pending->wait();
    if (stage.by_expert) ops::gather_rows(stream, a.by_rank, stage.by_expert, a.rows);
    a.by_rank = Tensor();
  };
  const auto send_back = [&](const Route::Stage& stage, Tensor result) {
    const StageSizes& s = stage.sizes;
    Departure back;
    if (stage.by_rank) {
      back.by_rank = Tensor(device, result.shape());
      ops::gather_rows(stream, result, stage.by_rank, back.by_rank);
    } else {
      back.by_expert = std::move(result);
    }
    back.pending =
        group_->start_all_to_all(stream, stage.by_rank ? back.by_rank : back.by_expert, s.receive_rows,
                                 results.slice(s.sent.begin, s.sent.end), s.send_rows);
    return back;
  };
  std::vector<Departure> departures;
  Arrival next = start(route.stages[0]);
  for (std::size_t s = 0; s < route.stages.size(); ++s) {
    Arrival now = std::move(next);
    if (s + 1 < route.stages.size()) next = start(route.stages[s + 1]);
    finish(route.stages[s], now);
    Tensor result(device, {route.stages[s].sizes.received.size(), d});
    work(s, now.rows, result);
    departures.push_back(send_back(route.stages[s], std::move(result)));
  }
  for (Departure& back : departures) back.pending->wait();
}

}  // namespace moe

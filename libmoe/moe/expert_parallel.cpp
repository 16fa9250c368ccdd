#include "libmoe/moe/expert_parallel.h"

#include <algorithm>
#include <deque>
#include <span>

#include "libmoe/core/ops.h"

namespace moe {
namespace {

Tensor upload(Stream& stream, const std::vector<std::int32_t>& values) {
  return Tensor::from_host<std::int32_t>(stream, values, {static_cast<std::int64_t>(values.size())});
}

Tensor permuted(Stream& stream, const TensorView& x, const TensorView& index) {
  Tensor y(stream.device(), {index.shape[0], x.shape[1]});
  ops::gather_rows(stream, x, index, y);
  return y;
}

}  // namespace

int ExpertParallelDispatcher::n_stages(std::span<const std::int64_t> rows) const {
  return choose_stages(stages_, [&] {
    return stage_work(rows, group_->size(), bytes_per_row_ / tensor_->size(), flops_per_row_);
  });
}

Route ExpertParallelDispatcher::route(Stream& stream, const Plan& plan, bool with_choices) const {
  std::vector<std::int64_t> mine, all(static_cast<std::size_t>(plan.n_experts() * group_->size()));
  for (std::int64_t e = 0; e < plan.n_experts(); ++e) mine.push_back(plan.n_rows(e));
  group_->all_gather(mine, all);
  RouteSizes sizes =
      route_sizes(all, {group_->size(), group_->rank(), tensor_->size(), tensor_->rank()}, n_stages(all));
  Route route;
  route.n_received = sizes.n_received;
  route.own_block = sizes.own_block;
  if (tensor_->size() > 1 || !sizes.plan_order()) {
    route.own_rows = upload(stream, sizes.own_rows);
    route.place = upload(stream, sizes.place);
  }
  std::vector<std::int32_t> choices;  // of all rows that come here, by rank, then expert
  if (with_choices) {
    const Tensor received(stream.device(), {sizes.n_received}, DType::i32);
    group_->all_to_all(stream, plan.choice.view().slice(0, plan.n_rows()), sizes.send_rows, received,
                       sizes.receive_rows);
    choices = to_host<std::int32_t>(stream, received);
  }
  for (StageSizes& s : sizes.stages) {
    Route::Stage& stage = route.stages.emplace_back();
    if (with_choices) {
      std::vector<std::int32_t> by_expert;
      for (const std::int32_t i : s.arrival) by_expert.push_back(choices[static_cast<std::size_t>(i)]);
      stage.choice = upload(stream, by_expert);
    }
    stage.offsets = upload(stream, s.offsets);
    if (tensor_->size() > 1 || !s.same_order()) {
      stage.by_expert = upload(stream, s.by_expert);
      stage.by_rank = upload(stream, s.by_rank);
    }
    stage.sizes = std::move(s);
    stage.experts = {stage.sizes.offsets, stage.offsets, stage.choice};
  }
  return route;
}

/// One run: the buffers of what is under way.
class ExpertParallelDispatcher::Trip {
 public:
  Trip(const ExpertParallelDispatcher& d, Stream& stream, const Route& route, const TensorView& rows,
       const TensorView& received, const TensorView& results)
      : group_(*d.group_),
        tensor_(*d.tensor_),
        stream_(stream),
        route_(route),
        width_(rows.shape[1]),
        received_(received),
        results_(results),
        own_(rows) {
    if (route.own_rows) {
      gathered_ = permuted(stream, rows, route.own_rows);
      own_ = gathered_;
      back_ = Tensor(stream.device(), {tensor_.size() * route.own_block, width_});
    }
  }

  /// The stage's rows leave for their experts.
  void start(std::size_t s) {
    const Route::Stage& stage = route_.stages[s];
    const StageSizes& sizes = stage.sizes;
    Arrival a;
    if (!received_) a.kept = Tensor(stream_.device(), {sizes.received.size(), width_});
    a.rows = received_ ? received_.slice(sizes.received.begin, sizes.received.end) : a.kept.view();
    if (stage.by_expert) a.blocks = Tensor(stream_.device(), {tensor_.size() * sizes.block, width_});
    const TensorView to = stage.by_expert ? own_block(a.blocks, sizes.block) : a.rows;
    a.pending = group_.start_all_to_all(stream_, own_.slice(sizes.own.begin, sizes.own.end), sizes.send_rows,
                                        to.slice(0, sizes.n_own_received), sizes.receive_rows);
    arrivals_.push_back(std::move(a));
  }

  /// Waits for the stage that left first, and works on it; its results start back.
  void work(std::size_t s, const Work& work) {
    const Route::Stage& stage = route_.stages[s];
    const StageSizes& sizes = stage.sizes;
    Arrival a = std::move(arrivals_.front());
    arrivals_.pop_front();
    a.pending->wait();
    if (stage.by_expert) {
      if (tensor_.size() > 1) tensor_.all_gather(stream_, own_block(a.blocks, sizes.block), a.blocks);
      ops::gather_rows(stream_, a.blocks, stage.by_expert, a.rows);
      a.blocks = Tensor();
    }
    Tensor result(stream_.device(), {sizes.received.size(), width_});
    work(s, a.rows, result, [this] { progress(); });
    if (stage.by_rank) result = permuted(stream_, result, stage.by_rank);
    TensorView own = result;
    if (tensor_.size() > 1) {
      own = own_block(result, sizes.block);
      tensor_.reduce_scatter(stream_, result, own);
    }
    const TensorView to = back_ ? own_block(back_, route_.own_block) : results_;
    Departure back{std::move(result), nullptr};
    back.pending = group_.start_all_to_all(stream_, own.slice(0, sizes.n_own_received), sizes.receive_rows,
                                           to.slice(sizes.own.begin, sizes.own.end), sizes.send_rows);
    departures_.push_back(std::move(back));
  }

  void finish() {
    for (Departure& back : departures_) back.pending->wait();
    if (!back_) return;
    if (tensor_.size() > 1) tensor_.all_gather(stream_, own_block(back_, route_.own_block), back_);
    ops::gather_rows(stream_, back_, route_.place, results_);
  }

 private:
  struct Arrival {
    Tensor blocks;    // [tensor ranks * block,D] as they come, where the experts want another order
    Tensor kept;      // [n,D] by expert, where the caller does not keep them
    TensorView rows;  // [n,D] what the experts read
    PendingPtr pending;
  };
  struct Departure {
    Tensor rows;
    PendingPtr pending;
  };
  TensorView own_block(const TensorView& blocks, std::int64_t block) const {
    return blocks.slice(tensor_.rank() * block, (tensor_.rank() + 1) * block);
  }
  void progress() {
    for (Arrival& a : arrivals_) a.pending->test();
    for (Departure& back : departures_) back.pending->test();
  }

  Communicator &group_, &tensor_;
  Stream& stream_;
  const Route& route_;
  std::int64_t width_;
  TensorView received_, results_, own_;
  Tensor gathered_, back_;  // own rows, and the tensor ranks' blocks of what comes back for them
  std::deque<Arrival> arrivals_;
  std::vector<Departure> departures_;
};

void ExpertParallelDispatcher::run(Stream& stream, const Route& route, const TensorView& rows,
                                   const TensorView& received, const Work& work,
                                   const TensorView& results) const {
  Trip trip(*this, stream, route, rows, received, results);
  trip.start(0);
  for (std::size_t s = 0; s < route.stages.size(); ++s) {
    if (s + 1 < route.stages.size()) trip.start(s + 1);
    trip.work(s, work);
  }
  trip.finish();
}

}  // namespace moe

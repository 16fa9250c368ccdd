#include "libmoe/comm/process_grid.h"

#include "libmoe/base/error.h"

namespace moe {
namespace {

void check(int world, const GridOptions& o) {
  if (o.tensor < 1 || world % o.tensor != 0)
    usage_error("--tp {} does not divide the {} ranks", o.tensor, world);
  if (o.expert < 1 || (world / o.tensor) % o.expert != 0)
    usage_error("--ep {} does not divide the {} data-parallel ranks ({} ranks / --tp {})", o.expert,
                world / o.tensor, world, o.tensor);
}

}  // namespace

ProcessGrid::ProcessGrid(std::shared_ptr<Communicator> world, const GridOptions& options)
    : world_(std::move(world)) {
  check(world_->size(), options);
  const int tp = options.tensor, ep = options.expert;
  const int tensor_index = world_->rank() % tp, data_index = world_->rank() / tp;
  const int n_groups = world_->size() / tp / ep;
  tensor_ = world_->split(data_index, fmt::format("tensor group {}", data_index));
  data_ = world_->split(tensor_index, fmt::format("data group {}", tensor_index));
  const int expert_group = tensor_index * n_groups + data_index / ep;
  expert_ = world_->split(expert_group, fmt::format("expert group {}", expert_group));
  const int expert_data_group = tensor_index * ep + data_index % ep;
  expert_data_ = world_->split(expert_data_group, fmt::format("expert-data group {}", expert_data_group));
}

ProcessGrid::ProcessGrid() : ProcessGrid(self_communicator(), {}) {}

}  // namespace moe

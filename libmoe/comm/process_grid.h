// How ranks are laid over the parts of a model (arXiv 2109.10465, section 3; arXiv 2303.06318).
#pragma once
#include <memory>

#include "libmoe/comm/communicator.h"

namespace moe {

/// Sizes of the groups; the data size is world / tensor, and expert divides it.
struct GridOptions {
  int tensor = 1;  // ranks that share every weight matrix
  int expert = 1;  // ranks that share a layer's experts
};

/// Rank r has tensor index r mod tp and data index r / tp; the expert groups are runs of ep data indices of
/// equal tensor index. World 16, tp 2, ep 4: tensor groups [0,1],[2,3],...; expert groups
/// [0,2,4,6],[8,10,12,14], [1,3,5,7],[9,11,13,15]; expert-data groups [0,8],[2,10],...
class ProcessGrid {
 public:
  /// Collective over world, which is kept. Throws Error(usage) naming the option when the sizes do not
  /// divide.
  ProcessGrid(std::shared_ptr<Communicator> world, const GridOptions& options);
  /// One process.
  ProcessGrid();

  Communicator& world() const { return *world_; }
  Communicator& tensor() const { return *tensor_; }            // other parts of the same matrices
  Communicator& data() const { return *data_; }                // other sentences, equal tensor index
  Communicator& expert() const { return *expert_; }            // other experts of the same layers
  Communicator& expert_data() const { return *expert_data_; }  // other sentences, the same experts

 private:
  std::shared_ptr<Communicator> world_, tensor_, data_, expert_, expert_data_;
};

}  // namespace moe

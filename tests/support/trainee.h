// One rank of a training run, without files.
#pragma once
#include <memory>
#include <optional>

#include "libmoe/train/update.h"
#include "tests/support/device.h"
#include "tests/support/layout_run.h"

namespace moe::test {

/// The update's micro-batches as one: counts, and rows numbered through.
UpdateBatches update_of(std::vector<Batch> batches);

/// Throws what its parts throw for layouts that do not fit.
struct Trainee {
  Trainee(const ModelConfig& config, const Layout& layout, const std::shared_ptr<Communicator>& world,
          const AdamOptions& adam_options = {}, std::uint64_t seed = 1);
  Communicator& world() { return model->parts().grid->world(); }
  /// The next update. Collective.
  UpdateResult update(const UpdateBatches& batches);

  std::unique_ptr<Device> device = open_device();
  Stream stream{*device, 1};
  std::optional<Transformer> model;
  std::optional<Adam> adam;
  std::optional<DataParallel> parallel;
  bool recompute;
  TaskCosts costs;
  int n_updates = 0;
};

}  // namespace moe::test

// All that a run works with, made from its options: a new model, one to fine-tune, or the place where an
// earlier run stopped.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libmoe/data/batcher.h"
#include "libmoe/data/dataset.h"
#include "libmoe/eval/validation.h"
#include "libmoe/model/checkpoint.h"
#include "libmoe/model/checkpoint_file.h"
#include "libmoe/model/checkpoint_saver.h"
#include "libmoe/parallel/data_parallel.h"
#include "libmoe/train/options.h"
#include "libmoe/train/state.h"

namespace moe {

/// Where a run begins, before anything large is allocated.
struct Origin {
  ModelConfig config;
  std::shared_ptr<const Dataset> dataset;
  Checkpoint checkpoint;  // without tensors when these are read from the file
  std::shared_ptr<const CheckpointFile> file;
  std::string path;                  // of the checkpoint; empty for a new model
  bool resumed = false;              // with the training state of an earlier run
  RunState state;                    // of a run that is resumed, or as a run begins
  std::vector<std::string> changes;  // what a resumed run does differently, a sentence each
};

/// Reads the dataset and, when there is one, the model to start from. Throws Error(usage) when the output
/// exists and cannot be continued as the options say, or when they change a model and there is none;
/// Error(bad_input) when dataset and model have different vocabularies.
Origin find_origin(const TrainOptions& options);

/// What this rank has of a model: the grid that the options lay over the ranks. Collective.
ModelParts parts_of(const TrainOptions& options, const ModelConfig& config,
                    std::shared_ptr<Communicator> world);
/// Threads that this rank computes with. Ranks that were not bound to processors of their own divide the
/// machine's.
int threads_of(const TrainOptions& options, const Communicator& world);

/// Not thread-safe.
class Session {
 public:
  Session(const TrainOptions& options, Origin origin, std::shared_ptr<Communicator> world);

  Communicator& world() { return model_->parts().grid->world(); }
  Stream& stream() { return stream_; }
  /// Of the passes of the run.
  Product product() const { return product_; }
  Transformer& model() { return *model_; }
  Adam& adam() { return *adam_; }
  DataParallel& parallel() { return *parallel_; }
  Batcher& batcher() { return *batcher_; }
  Validator& validator() { return *validator_; }
  const Dataset& dataset() const { return *dataset_; }
  TaskCosts& task_costs() { return *task_costs_; }
  RunState& state() { return state_; }

  CheckpointSaver& saver() { return *saver_; }
  /// Begins to save the model and the state as they are now. Collective.
  void start_save(std::vector<SaveTarget> targets);

 private:
  void load(const Origin& origin);
  bool keeps_choices(const ModelParts& parts);
  void go_on(const Origin& origin);

  const TrainOptions& options_;
  std::shared_ptr<const Dataset> dataset_;
  std::vector<std::string> inputs_;
  std::unique_ptr<Device> device_;
  Stream stream_;
  Product product_ = Product::f32;
  std::optional<Transformer> model_;
  std::optional<Adam> adam_;
  std::optional<DataParallel> parallel_;
  std::optional<CheckpointSaver> saver_;
  Corpus corpus_;
  std::optional<Batcher> batcher_;
  std::optional<TaskCosts> task_costs_;
  std::optional<Validator> validator_;
  RunState state_;
};

}  // namespace moe

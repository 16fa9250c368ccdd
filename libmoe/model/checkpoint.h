// A model in a file: configuration, vocabulary, parameters, and for resuming the optimizer's state and the
// cursor.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "libmoe/h5/file.h"
#include "libmoe/model/config.h"
#include "libmoe/model/transformer.h"
#include "libmoe/nn/optimizer.h"
#include "libmoe/text/vocabulary.h"

namespace moe {

/// Version 1 is whole in one file; version 2 is the index of files that several ranks have written.
inline constexpr h5::Kind kCheckpointKind{"moe-checkpoint", 2};

/// Tensors on the host under a name, as stored.
template <class T>
struct HostArray {
  std::string name;
  std::vector<std::int64_t> dims;
  std::vector<T> values;
};
using HostTensor = HostArray<float>;
using HostCounts = HostArray<std::int64_t>;

/// What a training run needs besides the model to go on bit for bit.
struct TrainingState {
  std::string json;                      // cursor, update count, RNG seed, best scores: owned by train/
  std::vector<HostTensor> moments;       // "m/<parameter>", "v/<parameter>"
  std::vector<HostCounts> expert_steps;  // "<parameter>": [E] or [1] step counts
};

/// A model without a device.
struct Checkpoint {
  ModelConfig config;
  std::shared_ptr<const Vocabulary> vocabulary;
  std::vector<HostTensor> parameters;  // order of ParameterList
  // Per MoE layer: original ids of its experts; empty when saving = 0..E-1 in each layer.
  std::vector<std::vector<std::int64_t>> expert_ids;
  TrainingState training;  // empty when saved without
};

/// In one file. Atomic. inputs: files recorded in the provenance (dataset, earlier checkpoint).
void save_checkpoint(const std::string& path, const Checkpoint& checkpoint,
                     const std::vector<std::string>& inputs, bool force);
/// Throws Error(bad_input) naming file and dataset. with_training: also the optimizer's state.
Checkpoint load_checkpoint(const std::string& path, bool with_training);
/// The mean of the parameters of checkpoints of one model, without training state; one tensor of each is in
/// memory at a time. Throws Error(bad_input) naming the file that does not fit the first one, Error(usage)
/// without files.
Checkpoint average_checkpoints(const std::vector<std::string>& paths);

/// Parameters from device to host and back: whole tensors, on every rank. Downloads are collective. Throws
/// Error(bad_input) naming the first tensor that is absent or has another shape, with `where` as the file.
HostTensor download_parameter(Stream& stream, const Transformer& model, std::size_t index);
std::vector<HostTensor> download_parameters(Stream& stream, const Transformer& model);
void upload_parameters(Stream& stream, const std::vector<HostTensor>& tensors, Transformer& model,
                       const std::string& where);
/// The optimizer's memory from whole tensors. Throws Error(bad_input) naming the first tensor of `where` that
/// is absent or has another shape.
void upload_moments(Stream& stream, const TrainingState& state, const Transformer& model,
                    const std::string& where, Adam& adam);

}  // namespace moe

// Names in a checkpoint, and the small things that each has whole.
#pragma once
#include <string>
#include <vector>

#include "libmoe/model/checkpoint.h"

namespace moe {

inline constexpr const char* kParameterPrefix = "/parameters/";
inline constexpr const char* kMomentPrefix = "/optimizer/";
inline constexpr const char* kStepPrefix = "/optimizer_steps/";
inline constexpr const char* kStateDataset = "/state";
/// A checkpoint in one file.
inline constexpr h5::Kind kWholeCheckpointKind{kCheckpointKind.name, 1};

std::string expert_ids_path(std::size_t layer);
/// Configuration, vocabulary and expert ids; empty ids: 0..E-1 in each layer.
void write_checkpoint_header(h5::Writer& writer, const ModelConfig& config, const Vocabulary& vocabulary,
                             const std::vector<std::vector<std::int64_t>>& expert_ids);
/// In order, below a prefix.
template <class T>
void write_arrays(h5::Writer& writer, const std::string& prefix, const std::vector<HostArray<T>>& arrays) {
  std::int64_t index = 0;
  for (const HostArray<T>& array : arrays) {
    const std::string path = prefix + array.name;
    writer.write<T>(path, array.values, array.dims, h5::Storage::extent);
    writer.attribute(path, "index", index++);
  }
}

}  // namespace moe

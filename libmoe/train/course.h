// What a run was told: stored with its state, so that a run that goes on can say what it does differently.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "libmoe/train/options.h"
#include "libmoe/train/state.h"

namespace moe {

/// The options of a model as text by name.
std::map<std::string, std::string> model_texts(ModelConfig config);

/// The options as text by name, those of the model as they count. Left out are the output, the ends of
/// reports, the machine and its ranks: what changes no result.
std::map<std::string, std::string> course_of(const TrainOptions& options, const ModelConfig& config);

/// What the best validation is chosen by; scores of different measures cannot be compared.
std::string measure_of(const TrainOptions& options, const std::string& dataset);

/// For a run that goes on from state, which is in path: takes over its new course, dataset and measure, and
/// gives what they change, a sentence each. Throws Error(usage) for another seed, or a model to start from
/// that is not the one the run started from.
std::vector<std::string> change_course(const TrainOptions& options, const ModelConfig& config,
                                       const std::string& dataset, const std::string& path, RunState& state);

}  // namespace moe

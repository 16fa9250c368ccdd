// Aggregation of experts (arXiv 2109.10465, section 4.3).
#pragma once
#include <string>
#include <vector>

#include "libmoe/model/checkpoint.h"

namespace moe {

/// One model from several of one shape and vocabulary: per MoE layer the gates' columns side by side and all
/// experts (the layers may have different numbers), of every other parameter the mean. paths: the models'
/// files, for messages. top_k: of the result, when it is more than the models' own.
///
/// Ids: those of the first model stay; those of each next one are raised by one more than the greatest id so
/// far, in all layers alike, so that an id tells model and expert.
///
/// The probability of an expert becomes a share of what it was, since the softmax is over all models'
/// experts. Where weights are probabilities of a single choice, routed_scale is therefore the sum of the
/// models' (not in the paper). So a model aggregated with itself is the same function: with one choice; with
/// k normalised ones when top_k is k times the number of models; and with k probabilities likewise. Throws
/// Error(usage) for fewer than two models or dense ones, Error(bad_input) naming the file that does not fit
/// the first.
Checkpoint aggregate(const std::vector<Checkpoint>& models, const std::vector<std::string>& paths,
                     std::int64_t top_k);

}  // namespace moe

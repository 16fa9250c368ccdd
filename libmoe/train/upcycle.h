// Sparse upcycling: experts from a dense model's feed-forward networks (arXiv 2212.05055).
#pragma once
#include <string>

#include "libmoe/model/checkpoint.h"

namespace moe {

/// A model with experts, as many and in the layers that `asked` says, each a copy of the feed-forward network
/// that its layer had; with residual experts the network beside them is one more copy. Gates and mixing
/// weights are as in a new model with this seed.
///
/// As long as no token is dropped it is the dense model's function: the weights of a token's copies sum to
/// one. With top_k 1 that needs the weight one, so gate_weights "auto" becomes "normalised" (the gate learns
/// as if the weight were its probability); with "probability" the model starts with the experts' output
/// scaled down. path: of the dense model, for messages. Throws Error(usage) for a model that has experts, or
/// no experts asked for.
Checkpoint upcycle(Checkpoint dense, const ModelConfig& asked, std::uint64_t seed, const std::string& path);

}  // namespace moe

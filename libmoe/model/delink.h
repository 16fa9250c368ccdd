// From layers that share weights to layers with weights of their own (Pseudo-to-Real, arXiv 2110.03888).
#pragma once
#include "libmoe/model/checkpoint.h"

namespace moe {

/// Every layer gets a copy of the weights that it shared; the model's function stays, bit for bit. Adam's
/// moments are copied as those of one of n equal shares of the gradient, which was a sum over the n layers:
/// m / n and v / n^2; steps stay. Does nothing to a model whose layers share nothing. Throws Error(bad_input)
/// naming `where` and a tensor that does not belong.
void delink_layers(Checkpoint& checkpoint, const std::string& where);

}  // namespace moe

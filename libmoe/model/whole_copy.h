// A model that is spread over ranks, as one.
#pragma once
#include "libmoe/model/transformer.h"

namespace moe {

/// Every parameter is here and stays here.
bool holds_whole_model(const Transformer& model);
/// The same model without a grid, for inference. Collective; takes memory for all values on every rank, and
/// moves them through it one tensor at a time.
Transformer whole_copy(Stream& stream, const Transformer& model);

}  // namespace moe

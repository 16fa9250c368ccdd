// How large a model is.
#pragma once
#include "libmoe/nn/parameter.h"

namespace moe {

/// Elements of whole tensors, of more than any machine holds too.
struct ParameterCounts {
  double all = 0, per_expert = 0;  // in all parameters, in those of which each expert has its own part
};

/// Of the model, whichever parts are here.
ParameterCounts count_parameters(const ParameterList& layout);

}  // namespace moe

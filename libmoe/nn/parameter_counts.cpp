#include "libmoe/nn/parameter_counts.h"

namespace moe {

ParameterCounts count_parameters(const ParameterList& layout) {
  ParameterCounts counts;
  for (const auto& p : layout.all()) {
    const auto n = static_cast<double>(p->spec.shape().n_elements());
    counts.all += n;
    if (p->spec.per_expert()) counts.per_expert += n;
  }
  return counts;
}

}  // namespace moe

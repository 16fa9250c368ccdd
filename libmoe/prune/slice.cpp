#include "libmoe/prune/slice.h"

#include "libmoe/model/expert_choice.h"

namespace moe::prune {

void slice_experts(Checkpoint& checkpoint, const std::vector<std::vector<std::int64_t>>& kept,
                   const std::string& where) {
  checkpoint.training = {};
  choose_experts(checkpoint, kept, where);
}

}  // namespace moe::prune

// What tells one model from another, however and wherever it is stored.
#pragma once
#include <string>

#include "libmoe/model/checkpoint.h"

namespace moe {

/// Of the names, shapes and values of all parameters, in 16 hexadecimal digits: equal for a checkpoint that
/// was copied, renamed, written by another number of ranks or made again from its store; another one after
/// any update.
std::string model_digest(const Checkpoint& checkpoint);

}  // namespace moe

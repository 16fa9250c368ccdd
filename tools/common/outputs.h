// What a tool writes, before it begins.
#pragma once
#include "tools/common/shared_options.h"

namespace moe::tools {

/// Declares the files of the options that are outputs (declare_outputs()). Throws Error(usage) naming the
/// options when one of them is an input too, or twice an output, or when its owner has made it read-only and
/// --force is not given.
void check_outputs(const CommandOptions& options);

}  // namespace moe::tools

// What moe-infer does: text to translations, line by line, in input order.
#pragma once
#include "libmoe/infer/options.h"

namespace moe::infer {

/// Reads options.input, writes stdout, reports on stderr. A line's translation depends on nothing but the
/// line, its language and the search options: not on other lines, threads, or where the experts are. Memory
/// does not depend on the length of the input. Throws Error(bad_input) for models and lines that cannot be
/// used, for lines when those before them are written, Error(usage) for options, std::system_error when
/// stdout cannot be written.
void run(const InferOptions& options);

}  // namespace moe::infer

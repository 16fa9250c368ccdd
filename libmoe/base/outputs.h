// The files that this process writes are told before anything is read, so that no input is one of them.
#pragma once
#include <string>
#include <vector>

namespace moe {

/// A file as a message names it, say "--output model.h5", and its path.
struct NamedFile {
  std::string name, path;
};

/// Replaces what was declared before. Call it before other threads run.
void declare_outputs(std::vector<NamedFile> outputs);

/// Throws Error(usage) naming both when the input is a file that was declared, through whatever name or link.
/// Thread-safe.
void check_input(const NamedFile& input);

}  // namespace moe

#include "libmoe/base/outputs.h"

#include "libmoe/base/error.h"
#include "libmoe/base/files.h"
#include "libmoe/base/log.h"

namespace moe {
namespace {

std::vector<NamedFile>& declared() {
  static std::vector<NamedFile> outputs;
  return outputs;
}

}  // namespace

void declare_outputs(std::vector<NamedFile> outputs) {
  declared() = std::move(outputs);
}

void check_input(const NamedFile& input) {
  for (const NamedFile& output : declared()) {
    if (!same_file(output.path, input.path)) continue;
    leave_log_file();  // it may be the one, and what is said now would be written to it
    usage_error("{} and {} are one file, which would be written over; write to another one", input.name,
                output.name);
  }
}

}  // namespace moe

// What this machine has and what of it the toolkit uses.
#pragma once
#include <string>

#include "libmoe/bench/measure.h"

namespace moe::bench {

struct DoctorOptions {
  std::string directory = ".", output = "table";
  bool quick = false;
  void describe(OptionTable& table);
};

/// A control group's limits on this process: the tightest along its path. 0 = none.
struct GroupLimits {
  std::int64_t memory_bytes = 0;
  double processors = 0;
};
/// root: where the control group file system is mounted; membership: the text of /proc/self/cgroup.
GroupLimits read_group_limits(const std::string& root, const std::string& membership);

/// Prints one row per item; libraries: the versions the program was built with. Returns 0. Throws
/// Error(bad_input) when the folder cannot be read.
int run_doctor(const DoctorOptions& options, const std::string& libraries);

}  // namespace moe::bench

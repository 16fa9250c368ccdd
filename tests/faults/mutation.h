// Changes to a file that leave it a sound HDF5 file with right checksums: what no checksum finds and a loader
// must.
#pragma once
#include <random>
#include <string>

namespace moe::test {

/// Changes one object of the file; says what it did.
std::string mutate_file(const std::string& path, std::mt19937& random);

}  // namespace moe::test

// A small file with every storage, type and attribute that Writer knows, and all its contents as text.
#pragma once
#include <string>

#include "libmoe/h5/file.h"

namespace moe::test {

inline constexpr h5::Kind kSampleKind{"moe-dataset", 1};

void write_sample_file(const std::string& path);
/// Every dataset (shape, type, bytes) and attribute that write_sample_file made; throws as Reader does.
std::string contents_of_sample(const std::string& path);

}  // namespace moe::test

// A small whole file of each kind, and reading all of it as the tools do.
#pragma once
#include <functional>
#include <string>
#include <vector>

namespace moe::test {

struct SampleKind {
  const char* name;
  std::function<void(const std::string& path)> write;
  /// Everything in the file as text; throws as the loaders do.
  std::function<std::string(const std::string& path)> load;
};

const std::vector<SampleKind>& sample_kinds();

}  // namespace moe::test

#include "tests/support/temp_dir.h"

#include <stdlib.h>

#include <stdexcept>

namespace moe::test {

TempDir::TempDir() {
  std::string name = (std::filesystem::temp_directory_path() / "moe-test-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make " + name);
  path_ = name;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace moe::test

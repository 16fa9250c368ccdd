#include "tests/support/device.h"

#include <cstdlib>

#include "libmoe/base/error.h"
#include "tests/support/guarded_device.h"

namespace moe::test {

std::unique_ptr<Device> open_device(const std::string& name) {
  const char* kind = std::getenv("MOE_TEST_DEVICE");
  if (kind == nullptr || *kind == 0) return Device::open(name);
  if (std::string(kind) != "guarded") usage_error("MOE_TEST_DEVICE={}: there is guarded", kind);
  return open_guarded_device(name);
}

}  // namespace moe::test

#include "libmoe/model/model_digest.h"

#include <fmt/format.h>

#include <span>

#include "libmoe/base/checksum.h"

namespace moe {

std::string model_digest(const Checkpoint& checkpoint) {
  std::string text;
  for (const HostTensor& t : checkpoint.parameters)
    text += fmt::format("{} [{}] {:016x}\n", t.name, fmt::join(t.dims, ","),
                        checksum(std::as_bytes(std::span(t.values))));
  return checksum_text(checksum(std::as_bytes(std::span(text))));
}

}  // namespace moe

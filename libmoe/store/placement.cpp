#include "libmoe/store/placement.h"

#include <algorithm>

#include "libmoe/base/error.h"
#include "libmoe/base/options.h"

namespace moe {
namespace {

std::int64_t largest_section(const ExpertFile& file) {
  std::int64_t largest = 0;
  for (std::size_t layer = 0; layer < file.sections.size(); ++layer)
    largest = std::max(largest, file.section_bytes(layer));
  return largest;
}

}  // namespace

std::int64_t least_budget(const ExpertFile& file) {
  return std::min(2 * largest_section(file), file.total_bytes());
}

Placement plan_placement(const ExpertFile& file, std::int64_t n_encoder_sections, std::int64_t budget_bytes) {
  const std::size_t n = file.sections.size();
  const auto n_encoder = static_cast<std::size_t>(n_encoder_sections);
  if (budget_bytes == 0 || budget_bytes >= file.total_bytes())
    return {std::vector<bool>(n, true), 0, 0, file.total_bytes()};
  if (budget_bytes < least_budget(file))
    usage_error("--host-memory {}: the ring needs two sections of experts of {}; give it {} bytes or more",
                format_bytes(budget_bytes), file.path, least_budget(file));
  Placement placement{std::vector<bool>(n, false), 2, largest_section(file), 2 * largest_section(file)};
  const auto make_resident = [&](std::size_t layer) {
    if (placement.total_bytes + file.section_bytes(layer) > budget_bytes) return;
    placement.resident[layer] = true;
    placement.total_bytes += file.section_bytes(layer);
  };
  for (std::size_t layer = n_encoder; layer < n; ++layer) make_resident(layer);
  for (std::size_t layer = 0; layer < n_encoder; ++layer) make_resident(layer);
  return placement;
}

}  // namespace moe

#include "libmoe/nn/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "libmoe/base/error.h"

namespace moe {

double learning_rate(const ScheduleOptions& options, std::int64_t update, double progress,
                     double warmup_progress) {
  MOE_CHECK(update >= 1, "update {}", update);
  const auto u = static_cast<double>(update), warmup = static_cast<double>(options.warmup);
  if (u < warmup) return options.rate * u / warmup;
  if (options.kind == "constant") return options.rate;
  if (options.kind == "inverse-sqrt") return options.rate * std::sqrt(std::max(warmup, 1.0) / u);
  MOE_CHECK(options.kind == "cosine", "schedule {}", options.kind);
  const double way = 1 - warmup_progress;
  const double q = way > 0 ? std::clamp((progress - warmup_progress) / way, 0.0, 1.0) : 1.0;
  return options.rate * (options.floor + (1 - options.floor) * (1 + std::cos(std::numbers::pi * q)) / 2);
}

}  // namespace moe

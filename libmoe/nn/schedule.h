// The learning rate over a run.
#pragma once
#include <cstdint>
#include <string>

namespace moe {

struct ScheduleOptions {
  std::string kind = "inverse-sqrt";  // "cosine", "constant"
  double rate = 1e-3;                 // the peak, reached at the end of the warm-up
  std::int64_t warmup = 500;          // updates of linear rise from 0; 0 = none
  double floor = 0.0;                 // cosine: the last rate as a share of the peak
};

/// The rate of update u = 1, 2, ...; during the warm-up rate * u / warmup, and then
///   inverse-sqrt: rate * sqrt(warmup / u) (arXiv 1706.03762), with warmup 0 as with 1;
///   cosine: rate * (floor + (1 - floor) (1 + cos(pi q)) / 2), where q in [0,1] is the share of the way from
///   the end of the warm-up to the end of the run (arXiv 1608.03983 without restarts); constant: rate.
/// progress in [0,1]: how far the run is (updates over all updates, or time over the time allowed);
/// warmup_progress: how far it was when the warm-up ended. Both matter to cosine only.
double learning_rate(const ScheduleOptions& options, std::int64_t update, double progress,
                     double warmup_progress);

}  // namespace moe

#include "libmoe/train/divergence.h"

#include <array>
#include <cmath>
#include <limits>

#include "libmoe/base/error.h"
#include "libmoe/core/ops.h"

namespace moe {
namespace {

// The first layer that makes something that is not finite on some rank; empty when none does.
std::string first_bad_layer(Stream& stream, Transformer& model, DataParallel& parallel,
                            const BadUpdate& update) {
  std::vector<std::string> layers;  // in the order in which the ranks come to them, which is the same on all
  std::array<std::int64_t, 1> first{std::numeric_limits<std::int64_t>::min()};  // negative
  PassOptions pass = update.pass;
  pass.backward = false;
  pass.observer = &parallel;
  pass.watch = [&](const std::string& layer, const TensorView& x) {
    layers.push_back(layer);
    if (first[0] < -static_cast<std::int64_t>(layers.size()) && !ops::all_finite(stream, x))
      first[0] = 1 - static_cast<std::int64_t>(layers.size());
  };
  for (const Batch& batch : update.batches) model.pass(stream, batch, pass);
  model.parts().grid->world().all_reduce(Reduce::max, std::span<std::int64_t>(first));
  return -first[0] < static_cast<std::int64_t>(layers.size()) ? layers[static_cast<std::size_t>(-first[0])]
                                                              : "";
}

std::string where_it_began(Stream& stream, Transformer& model, DataParallel& parallel,
                           const BadUpdate& update, bool bad_loss) {
  const std::optional<BadTensor> bad = parallel.first_bad_tensor(stream);
  if (bad && (!bad->gradient || !bad_loss)) return bad->text(model.parameters());
  const std::string layer = first_bad_layer(stream, model, parallel, update);
  if (!layer.empty()) return "output of " + layer;
  return bad ? bad->text(model.parameters()) : "none: the logits overflowed";
}

}  // namespace

void report_divergence(Stream& stream, Transformer& model, DataParallel& parallel, const BadUpdate& update) {
  std::array<std::int64_t, 1> bad_loss{std::isfinite(update.loss) ? 0 : 1};
  model.parts().grid->world().all_reduce(Reduce::max, std::span<std::int64_t>(bad_loss));
  const std::string where = where_it_began(stream, model, parallel, update, bad_loss[0] != 0);
  fail(ErrorCode::failed,
       "diverged at update {}: the {} is not finite; first bad tensor: {}. The update was not applied. Try a "
       "lower --learning-rate, a longer --warmup or --clip-norm",
       update.number, bad_loss[0] != 0 ? "loss" : "gradient norm", where);
}

}  // namespace moe

#include "libmoe/nn/loss.h"

#include <algorithm>
#include <array>

namespace moe {
namespace {

// Rows per block: every block reads the table and reads and writes its gradient, so blocks should be large;
// the block of logits should stay near the cache.
std::int64_t rows_per_block(std::int64_t n_vocabulary) {
  constexpr std::int64_t kElements = std::int64_t{8} << 20;
  return std::clamp<std::int64_t>(kElements / std::max<std::int64_t>(n_vocabulary, 1), 64, 1024);
}

}  // namespace

LossSums projected_cross_entropy(Stream& stream, const TensorView& x, Parameter& table,
                                 const std::vector<std::int32_t>& labels, const LossOptions& options,
                                 const TensorView& dx) {
  const std::int64_t t = x.rows(), v = table.value.shape[0];
  MOE_CHECK(static_cast<std::int64_t>(labels.size()) == t, "{} labels of {} rows", labels.size(), t);
  Device& device = stream.device();
  const bool backward = options.backward && options.scale != 0;
  if (options.backward && !backward) ops::fill(stream, 0, dx);
  const Tensor device_labels = Tensor::from_host<std::int32_t>(stream, labels, {t});
  const Tensor loss(device, {t}), nll(device, {t});
  const std::int64_t block = std::min(t, rows_per_block(v));
  const Tensor logits(device, {block, v});
  for (std::int64_t begin = 0; begin < t; begin += block) {
    const std::int64_t end = std::min(begin + block, t);
    const TensorView rows = x.slice(begin, end), block_logits = logits.view().slice(0, end - begin);
    ops::gemm(stream, {.a = rows, .b = table.value, .c = block_logits, .trans_b = true});
    ops::cross_entropy(stream, block_logits, device_labels.view().slice(begin, end),
                       static_cast<float>(options.label_smoothing),
                       backward ? static_cast<float>(options.scale) : 0.0f, loss.view().slice(begin, end),
                       nll.view().slice(begin, end));
    if (!backward) continue;
    const std::array<ops::Gemm, 2> products{
        ops::Gemm{.a = block_logits, .b = rows, .c = table.gradient, .trans_a = true, .accumulate = true},
        ops::Gemm{.a = block_logits, .b = table.value, .c = dx.slice(begin, end)}};
    ops::gemm(stream, products);
  }
  LossSums sums;
  for (float value : to_host<float>(stream, loss)) sums.loss += value;
  for (float value : to_host<float>(stream, nll)) sums.nll += value;
  sums.n_rows = std::count_if(labels.begin(), labels.end(), [](std::int32_t label) { return label >= 0; });
  return sums;
}

}  // namespace moe

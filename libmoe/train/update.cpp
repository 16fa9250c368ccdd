#include "libmoe/train/update.h"

#include <cmath>

#include "libmoe/base/error.h"

namespace moe {
namespace {

void add_counts(const std::vector<std::int64_t>& from, std::vector<std::int64_t>& to) {
  if (to.size() < from.size()) to.resize(from.size());
  for (std::size_t i = 0; i < from.size(); ++i) to[i] += from[i];
}

[[noreturn]] void diverged(Stream& stream, const Transformer& model, std::uint64_t update, const char* what,
                           double value) {
  const auto bad = first_bad_tensor(stream, model.parameters());
  fail(ErrorCode::failed,
       "diverged at update {}: the {} is {}; first bad tensor: {}. The update was not applied. Try a lower "
       "--learning-rate, a longer --warmup or --clip-norm",
       update, what, value, bad ? *bad : "none, the activations overflowed");
}

}  // namespace

void add_balance(const std::vector<LayerBalance>& from, std::vector<LayerBalance>& to) {
  if (to.size() < from.size()) to.resize(from.size());
  for (std::size_t l = 0; l < from.size(); ++l) {
    const LayerBalance& a = from[l];
    LayerBalance& b = to[l];
    add_counts(a.expert_tokens, b.expert_tokens);
    if (b.by_language.size() < a.by_language.size()) b.by_language.resize(a.by_language.size());
    for (std::size_t g = 0; g < a.by_language.size(); ++g) add_counts(a.by_language[g], b.by_language[g]);
    if (b.expert_confidence.size() < a.expert_confidence.size())
      b.expert_confidence.resize(a.expert_confidence.size());
    for (std::size_t e = 0; e < a.expert_confidence.size(); ++e)
      b.expert_confidence[e] += a.expert_confidence[e];
    b.n_dropped += a.n_dropped;
    b.n_choices += a.n_choices;
    b.entropy_sum += a.entropy_sum;
    b.n_tokens += a.n_tokens;
  }
}

UpdateResult run_update(Stream& stream, Transformer& model, Adam& adam, const UpdateBatches& batches,
                        const UpdateOptions& options) {
  UpdateResult update;
  update.n_source_tokens = batches.n_source_tokens;
  update.n_sentences = batches.n_sentences;
  const auto n_rows = static_cast<double>(batches.n_source_tokens + batches.n_target_tokens);

  model.parameters().clear_gradients(stream);
  PassOptions pass;
  pass.loss_scale = 1 / static_cast<double>(batches.n_target_tokens);
  pass.label_smoothing = options.label_smoothing;
  pass.seed = options.seed;
  pass.update = options.update;
  for (const Batch& batch : batches.batches) {
    pass.aux_scale = static_cast<double>(batch.source.n_tokens() + batch.target.n_tokens()) / n_rows;
    const PassResult result = model.pass(stream, batch, pass);
    if (!std::isfinite(result.loss_sum)) diverged(stream, model, options.update, "loss", result.loss_sum);
    update.loss_sum += result.loss_sum;
    update.nll_sum += result.nll_sum;
    update.n_target_tokens += result.n_target_tokens;
    update.aux_loss += pass.aux_scale * result.aux_loss;
    update.z_loss += pass.aux_scale * result.z_loss;
    add_balance(result.balance, update.balance);
  }

  update.gradient_norm = gradient_norm(stream, model.parameters());
  if (!std::isfinite(update.gradient_norm))
    diverged(stream, model, options.update, "gradient norm", update.gradient_norm);
  adam.step(stream, model.parameters(), options.rate, clip_scale(update.gradient_norm, options.clip_norm));
  return update;
}

}  // namespace moe

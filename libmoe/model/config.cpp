#include "libmoe/model/config.h"

#include <algorithm>
#include <limits>

#include "kernels/api/attention.h"
#include "libmoe/base/error.h"
#include "libmoe/model/fields.h"

namespace moe {

namespace {

void check_range(const std::string& option, const auto& value, double low, double high) {
  if (!(static_cast<double>(value) >= low && static_cast<double>(value) <= high))
    usage_error("--{}: {} is outside {} to {}", option, value, low, high);
}

// What fields allow by themselves; those of experts only where there are some.
void check_ranges(ModelConfig& config, bool of_experts) {
  for (const Field& field : model_fields()) {
    if (!field.has_range() || (field.group == FieldGroup::experts) != of_experts) continue;
    const Field::Target target = field.target(config);
    if (const auto* count = std::get_if<std::int64_t*>(&target))
      check_range(field.option(), **count, field.low, field.high);
    if (const auto* number = std::get_if<double*>(&target))
      check_range(field.option(), **number, field.low, field.high);
  }
}

void check_shape(ModelConfig& c) {
  check_ranges(c, false);
  if (c.d_model % c.n_heads != 0)
    usage_error("--n-heads: {} heads do not divide --d-model {}", c.n_heads, c.d_model);
  if (c.d_model / c.n_heads > kernels::kAttentionMaxWidth)
    usage_error("--n-heads: {} heads of --d-model {} are wider than {}; take more heads", c.n_heads,
                c.d_model, kernels::kAttentionMaxWidth);
  if (c.positions == Positions::sinusoidal && c.d_model % 2 != 0)
    usage_error("--d-model: sinusoidal positions need an even width, not {}", c.d_model);
}

void check_experts(ModelConfig& c) {
  if (c.n_experts == 0) {
    if (!c.experts_per_layer.empty())
      usage_error("--experts-per-layer: a dense model (--n-experts 0) has none");
    return;
  }
  if (c.n_experts > 0) check_range("top-k", c.top_k, 1, static_cast<double>(c.n_experts));
  check_ranges(c, true);
  if (c.n_moe_layers() == 0)
    usage_error(
        "--expert-interval: {} is more than the layers of either stack, so no layer has experts; choose a "
        "smaller interval, or --n-experts 0 for a dense model",
        c.expert_interval);
  if (c.experts_per_layer.empty()) return;
  if (c.share_layers) usage_error("--share-layers: layers that share weights have equally many experts");
  if (static_cast<std::int64_t>(c.experts_per_layer.size()) != c.n_moe_layers())
    usage_error("--experts-per-layer: {} counts for {} layers with experts", c.experts_per_layer.size(),
                c.n_moe_layers());
  for (std::int64_t n : c.experts_per_layer)
    if (n < 1 || n > c.n_experts)
      usage_error("--experts-per-layer: {} experts in a layer; it must be from 1 to --n-experts {}", n,
                  c.n_experts);
}

}  // namespace

std::int64_t ModelConfig::n_moe_layers() const {
  if (n_experts == 0 || expert_interval <= 0) return 0;
  const std::int64_t in_encoder = has_encoder() ? encoder_layers / expert_interval : 0;
  return in_encoder + decoder_layers / expert_interval;
}

std::int64_t ModelConfig::experts_in(int moe_layer) const {
  MOE_CHECK(moe_layer >= 0 && moe_layer < n_moe_layers(), "{}", moe_layer);
  return experts_per_layer.empty() ? n_experts : experts_per_layer[static_cast<std::size_t>(moe_layer)];
}

bool ModelConfig::is_moe_layer(std::int64_t layer) const {
  return n_experts > 0 && (layer + 1) % expert_interval == 0;
}

std::int64_t ModelConfig::share_period() const {
  if (!share_layers) return std::numeric_limits<std::int64_t>::max();
  return n_experts > 0 ? expert_interval : 1;
}

void ModelConfig::check() const {
  ModelConfig config = *this;
  check_shape(config);
  check_experts(config);
}

void ModelConfig::check_batch(std::int64_t n_rows, const std::string& option, bool training) const {
  if (n_experts == 0) return;
  check_choices(std::max(n_rows, max_length), dense_training && training ? n_experts : top_k, option);
}

void ModelConfig::describe(OptionTable& table) {
  for (const Field& field : model_fields()) {
    if (field.group == FieldGroup::none) continue;
    table.group(word_of(field.group));
    Option& option = table.add(field.option(), field.option_target(*this), field.value_name, field.help);
    if (field.has_range()) option.range(field.low, field.high);
  }
}

}  // namespace moe

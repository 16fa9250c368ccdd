// What each sublayer saves for the way back and works with on it, and the parameters of layers that travel
// meanwhile. Counts are floats.
#include "libmoe/train/pass_peak.h"

#include <algorithm>
#include <map>
#include <vector>

#include "libmoe/model/spec.h"
#include "libmoe/nn/loss.h"
#include "libmoe/parallel/data_parallel.h"

namespace moe {
namespace {

constexpr std::int64_t kFloat = sizeof(float);

/// saved: from the forward pass until the sublayer has been passed back; working: while it is.
struct Sublayer {
  std::int64_t saved = 0, working = 0;
};
struct Layer {
  int unit = 0;  // of its parameters
  std::vector<Sublayer> sublayers;
  std::int64_t saved() const {
    std::int64_t n = 0;
    for (const Sublayer& s : sublayers) n += s.saved;
    return n;
  }
};

/// Of one stack, whose rows are those of this rank.
class StackCounts {
 public:
  StackCounts(const ModelParts& parts, std::int64_t n_rows, std::int64_t n_memory)
      : t_(parts.grid->tensor().size()),
        moves_(parts.grid->expert().size() > 1),
        rows_(n_rows),
        memory_(n_memory) {}

  std::vector<Layer> layers(const StackSpec& stack) const {
    std::vector<Layer> layers;
    for (const LayerSpec& spec : stack.layers) {
      Layer& layer = layers.emplace_back();
      layer.unit = stack.unit(static_cast<std::int64_t>(layers.size()) - 1);
      layer.sublayers.push_back(self_attention(spec.attention));
      if (spec.cross) layer.sublayers.push_back(cross_attention(*spec.cross));
      layer.sublayers.push_back(spec.moe ? experts(*spec.moe) : feed_forward(*spec.feed_forward));
      for (Sublayer& s : layer.sublayers) {
        s.saved += rows_ * (2 * spec.norm.width + 2);  // before and after the norm
        // The gradient of its output where dropout changes it, and of what its norm gave.
        s.working += rows_ * spec.norm.width * (spec.dropout > 0 ? 2 : 1);
      }
    }
    return layers;
  }

 private:
  std::int64_t hidden(const FeedForwardSpec& spec) const {
    return spec.hidden / t_ * (spec.activation == ops::Activation::gelu ? 2 : 1);
  }

  Sublayer self_attention(const AttentionSpec& spec) const {
    const std::int64_t w = spec.width / t_;
    return {rows_ * (4 * w + spec.n_heads / t_), rows_ * 4 * w};
  }
  Sublayer cross_attention(const AttentionSpec& spec) const {
    const std::int64_t w = spec.width / t_, kv = memory_ * 2 * w;
    return {rows_ * (2 * w + spec.n_heads / t_) + kv, rows_ * 2 * w + kv};
  }
  Sublayer feed_forward(const FeedForwardSpec& spec) const {
    return {rows_ * hidden(spec), rows_ * (spec.hidden / t_)};
  }
  Sublayer experts(const MoeSpec& moe) const {
    const RouterSpec& router = moe.router;
    const std::int64_t D = moe.expert.width, E = router.n_experts;
    const std::int64_t k = router.dense_training ? E : std::min(router.top_k, E);
    const std::int64_t n = rows_ * k;  // rows of experts, as many as this rank's experts get
    Sublayer s;
    s.saved = rows_ * (E + 2 + 5 * k) + n * (2 * D + hidden(moe.expert));
    s.working = n * (D + moe.expert.hidden / t_ + 1);
    if (moves_) s.working += n * 2 * D;                   // what arrives, and what goes back
    if (moves_ && t_ > 1) s.working += n * (D + D / t_);  // in parts, by tensor rank
    if (router.noise == GateNoise::jitter) s.saved += rows_ * D;
    if (router.second_policy == SecondPolicy::random) s.saved += n;
    if (!moe.residual) return s;
    s.saved += rows_ * (2 * D + 2 + hidden(*moe.residual));
    s.working += rows_ * 2 * D;
    return s;
  }

  std::int64_t t_;
  bool moves_;
  std::int64_t rows_, memory_;
};

/// What ZeRO gathers and reduces, by the unit that a pass is at.
class Exchange {
 public:
  Exchange(const ParameterList& layout, bool overlap) : overlap_(overlap) {
    const int stage = layout.sharding().zero_stage;
    for (const ParameterGroup& group : layout.groups()) {
      if (group.n_copies == 1) continue;
      Unit& unit = units_[group.unit];
      if (stage >= 2) unit.gradients += group.n_elements, unit.shares += group.share.size();
      if (stage >= 3) unit.values += group.n_elements;
    }
  }
  /// On the way there through a unit, when there is no way back.
  std::int64_t there(int unit) const {
    return at(0).values + (unit > 0 ? at(unit).values + (overlap_ ? at(unit + 1).values : 0) : 0);
  }
  /// Between the stacks and the loss: what is outside the layers.
  std::int64_t outside() const { return at(0).values + at(0).gradients; }
  /// On the way back through a unit, and when it has been left.
  std::int64_t during(int unit) const {
    std::int64_t n = outside() + at(unit).values + at(unit).gradients + reductions_behind(unit);
    if (overlap_ && unit > 1) n += at(unit - 1).values;
    return n;
  }
  std::int64_t after(int unit) const {
    const std::int64_t here = at(unit).gradients + at(unit).shares + reductions_behind(unit);
    if (unit == 0) return here;
    return outside() + here + (overlap_ && unit > 1 ? at(unit - 1).values : 0);
  }

 private:
  struct Unit {
    std::int64_t values = 0, gradients = 0, shares = 0;
  };
  Unit at(int unit) const {
    const auto found = units_.find(unit);
    return found == units_.end() ? Unit{} : found->second;
  }
  std::int64_t reductions_behind(int unit) const {
    std::int64_t n = 0;
    for (int i = 1; overlap_ && i <= static_cast<int>(kReductionsAhead); ++i)
      n += at(unit + i).gradients + at(unit + i).shares;
    return n;
  }
  bool overlap_;
  std::map<int, Unit> units_;
};

/// Follows a pass from the loss to the first layer, and keeps the moment that has most.
class WayBack {
 public:
  WayBack(const Exchange& exchange, bool recompute, std::int64_t width)
      : exchange_(exchange), recompute_(recompute), width_(width) {}

  std::int64_t kept(const std::vector<Layer>& layers, std::int64_t n_rows) const {
    std::int64_t n = 0;
    for (const Layer& layer : layers) n += recompute_ ? n_rows * width_ : layer.saved();
    return n;
  }
  void moment(std::int64_t activations, std::int64_t exchanged) {
    const PassPeak now{kFloat * activations, kFloat * exchanged};
    if (now.total() > peak_.total()) peak_ = now;
  }
  /// others: what is there besides, of other stacks too.
  void pass_back(std::vector<Layer> layers, std::int64_t n_rows, std::int64_t others) {
    while (!layers.empty()) {
      Layer layer = std::move(layers.back());
      layers.pop_back();
      const std::int64_t below = others + kept(layers, n_rows);
      for (; !layer.sublayers.empty(); layer.sublayers.pop_back())
        moment(below + layer.saved() + layer.sublayers.back().working, exchange_.during(layer.unit));
      moment(below, exchange_.after(layer.unit));
    }
  }
  const PassPeak& peak() const { return peak_; }

 private:
  const Exchange& exchange_;
  bool recompute_;
  std::int64_t width_;
  PassPeak peak_;
};

/// The block of logits, with rows and gradients of other ranks where the vocabulary is divided over them.
std::int64_t loss_floats(const ModelConfig& config, const ParameterList& layout, const ModelParts& parts,
                         std::int64_t n_rows) {
  const Parameter* table = nullptr;  // the last one, or the only one, is that of the output
  for (const auto& p : layout.all())
    if (p->spec.axis_of(AxisRole::tokens)) table = p.get();
  const std::int64_t v = table->value.shape[0],
                     n_ranks = table->copies == Copies::none ? parts.grid->data().size() : 1;
  const std::int64_t n_parts = n_ranks * parts.grid->tensor().size();
  const std::int64_t block =
      std::clamp<std::int64_t>(loss_block_rows(v) / n_ranks, 1, std::max<std::int64_t>(n_rows, 1));
  std::int64_t n = n_ranks * block * v + 3 * n_ranks * n_rows;
  if (n_ranks > 1) n += 2 * n_ranks * block * config.d_model;
  if (n_parts > 1) n += 4 * (n_parts + 1) * n_ranks * block;
  return n;
}

/// What this rank has of a batch, and its layers.
struct Stacks {
  std::int64_t n_source = 0, n_target = 0;  // rows
  std::vector<Layer> encoder, decoder;

  Stacks(const ModelConfig& config, const ModelParts& parts, std::int64_t batch_tokens) {
    const ModelSpec spec = model_spec(config);
    const std::int64_t n_ranks = parts.grid->data().size();
    n_target = (spec.encoder ? batch_tokens / 2 : batch_tokens) / n_ranks;
    n_source = spec.encoder ? batch_tokens / n_ranks - n_target : 0;
    if (spec.encoder) encoder = StackCounts(parts, n_source, 0).layers(*spec.encoder);
    decoder = StackCounts(parts, n_target, n_source).layers(spec.decoder);
  }
};

/// A beam search: keys and values of hypotheses as long as they may get, those of one layer twice while rows
/// move, and what a step needs.
std::int64_t search_floats(const ModelConfig& c, const FootprintOptions& options) {
  const std::int64_t D = c.d_model, n_rows = options.valid_sentences * options.valid_beam;
  const std::int64_t n_memory = options.valid_sentences * (options.valid_length + 2);
  const std::int64_t n_positions = std::min(c.max_length, 3 * options.valid_length + 10);
  return (c.decoder_layers + 1) * n_rows * n_positions * 2 * D + n_memory * D * (1 + 2 * c.decoder_layers) +
         n_rows * (c.vocab_size + 4 * D + c.d_ffn * c.top_k);
}

/// Of a copy for the search, where this rank holds a part of the model.
std::int64_t whole_copy_floats(const ParameterList& layout) {
  const bool gathers = layout.sharding().zero_stage == 3;
  bool whole = true;
  std::int64_t n = 0;
  for (const auto& p : layout.all()) {
    whole = whole && p->slice.whole() && !(gathers && layout.group_of(*p).n_copies > 1);
    n += p->spec.shape().n_elements();
  }
  return whole ? 0 : n;
}

}  // namespace

PassPeak pass_peak(const ModelConfig& config, const ParameterList& layout, const FootprintOptions& options) {
  const Stacks stacks(config, options.parts, options.batch_tokens);
  const std::int64_t D = config.d_model, n_source = stacks.n_source, n_target = stacks.n_target;
  const Exchange exchange(layout, options.overlap);
  WayBack way(exchange, options.recompute, D);
  // Ids, positions and languages; the encoder's last row before and after the norm.
  const std::int64_t ids = 3 * (n_source + n_target), memory = n_source * D;
  const std::int64_t encoded = ids + way.kept(stacks.encoder, n_source) + 2 * memory;
  const std::int64_t decoded = encoded + way.kept(stacks.decoder, n_target) + 3 * n_target * D;
  way.moment(decoded + loss_floats(config, layout, options.parts, n_target), exchange.outside());
  way.moment(decoded + memory, exchange.outside());
  way.pass_back(stacks.decoder, n_target, encoded + memory + n_target * D);
  way.moment(encoded + 2 * memory, exchange.outside());
  way.pass_back(stacks.encoder, n_source, ids + 2 * memory);
  way.moment(ids, exchange.after(0));
  return way.peak();
}

std::int64_t validation_peak(const ModelConfig& config, const ParameterList& layout,
                             const FootprintOptions& options) {
  if (options.valid_rows == 0) return 0;
  const Stacks stacks(config, options.parts, options.valid_rows);
  const Exchange exchange(layout, options.overlap);
  const std::int64_t encoded = 3 * (stacks.n_source + stacks.n_target) + stacks.n_source * config.d_model;
  const std::int64_t decoded = encoded + stacks.n_target * config.d_model;
  std::int64_t most =
      decoded + loss_floats(config, layout, options.parts, stacks.n_target) + exchange.there(0);
  for (const Layer& layer : stacks.encoder)
    most = std::max(most, encoded + layer.saved() + exchange.there(layer.unit));
  for (const Layer& layer : stacks.decoder)
    most = std::max(most, decoded + layer.saved() + exchange.there(layer.unit));
  if (options.valid_sentences > 0)
    most = std::max(most, search_floats(config, options) + whole_copy_floats(layout));
  return kFloat * most;
}

}  // namespace moe

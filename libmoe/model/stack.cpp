#include "libmoe/model/stack.h"

#include <algorithm>
#include <iterator>

#include "libmoe/model/model_layers.h"

namespace moe {
namespace {

std::vector<TransformerLayer> make_layers(ParameterList& parameters, const std::string& name,
                                          const ModelConfig& config, bool with_cross, const StackPlace& place,
                                          const ModelParts& parts) {
  const std::int64_t n_layers = name == "encoder" ? config.encoder_layers : config.decoder_layers;
  const std::int64_t period = config.share_period();
  std::vector<TransformerLayer> layers;
  layers.reserve(static_cast<std::size_t>(n_layers));
  int n_moe_layers = place.first_moe_layer;
  for (std::int64_t i = 0; i < n_layers; ++i) {
    const std::int64_t index = place.first_layer + i;
    const int moe_layer = config.is_moe_layer(i) ? n_moe_layers++ : -1;
    if (i >= period) {
      layers.emplace_back(layers[static_cast<std::size_t>(i - period)], index, moe_layer);
      continue;
    }
    parameters.begin_unit(layer_unit(index));
    layers.emplace_back(parameters, layer_name(name, i), config, with_cross, index, moe_layer, parts);
  }
  return layers;
}

ParameterList& outside_layers(ParameterList& parameters) {
  parameters.begin_unit(0);
  return parameters;
}

// A layer of a stack whose weights repeat after `period` layers.
struct LayerPlace {
  std::int64_t layer, n_layers, period, first_layer;
  int unit() const { return layer_unit(first_layer + layer % period); }
  bool first_with_weights() const { return layer < period; }
  bool last_with_weights() const { return n_layers - layer <= period; }
};

// What an observer hears of a layer's parameters while they are used: of shared ones once in a pass, from the
// first layer that it comes to, to the last.
class Use {
 public:
  Use(Stream& stream, const LayerPass& shared, const LayerPlace& place, bool backward)
      : stream_(stream),
        observer_(shared.observer),
        unit_(place.unit()),
        backward_(backward),
        ends_(backward ? place.first_with_weights() : place.last_with_weights()) {
    const bool begins = backward ? place.last_with_weights() : place.first_with_weights();
    if (observer_ != nullptr && begins) observer_->before_use(stream_, unit_, backward_);
  }
  void end() {
    if (observer_ != nullptr && ends_) observer_->after_use(stream_, unit_, backward_);
  }

 private:
  Stream& stream_;
  UnitObserver* observer_;
  int unit_;
  bool backward_, ends_;
};

std::int64_t at(std::size_t i) {
  return static_cast<std::int64_t>(i);
}

}  // namespace

int n_moe_layers_of(const ModelConfig& config, std::int64_t n_layers) {
  int n = 0;
  for (std::int64_t i = 0; i < n_layers; ++i) n += config.is_moe_layer(i);
  return n;
}

Stack::Stack(ParameterList& parameters, const std::string& name, const ModelConfig& config,
             const Table& table, bool with_cross, const StackPlace& place, const ModelParts& parts)
    : name_(name),
      place_(place),
      width_(config.d_model),
      share_period_(config.share_period()),
      embedding_(parameters, name, table, config.max_length, config.positions == Positions::learned),
      layers_(make_layers(parameters, name, config, with_cross, place, parts)),
      norm_(outside_layers(parameters), name + ".norm", config.d_model, config.norm_epsilon) {}

kernels::RandomStream Stack::embedding_random(const Pass& pass) const {
  return pass.of_layer(static_cast<std::uint32_t>(place_.first_layer))
      .random.stream(RandomUse::embedding_dropout, width_);
}

Tensor Stack::forward(Stream& stream, const Pass& pass, const DeviceRows& rows, const LayerPass& shared,
                      Saved* saved, std::vector<MoeRecord>& records) const {
  Device& device = stream.device();
  Tensor x(device, {rows.n_rows, width_});
  Table::Fetched unused;
  embedding_.forward(stream, rows.ids, rows.position, x, saved != nullptr ? saved->tokens : unused);
  if (shared.dropout > 0) ops::dropout_add(stream, x, {}, shared.dropout, embedding_random(pass), x);
  if (saved != nullptr) saved->layers.resize(layers_.size());
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    Use use(stream, shared, {at(i), at(layers_.size()), share_period_, place_.first_layer}, false);
    TransformerLayer::Saved freed;
    x = layers_[i].forward(stream, pass, shared, std::move(x), saved != nullptr ? saved->layers[i] : freed);
    if (shared.watch) shared.watch(layer_name(name_, at(i)), x);
    use.end();
    if (saved != nullptr && shared.recompute) saved->layers[i].keep_input();
    if (saved != nullptr) continue;
    if (auto record = layers_[i].record(freed)) records.push_back(std::move(*record));
  }
  Tensor y(device, x.shape());
  if (saved == nullptr) {
    norm_.forward(stream, x, y);
  } else {
    norm_.forward(stream, x, y, saved->norm);
    saved->x = std::move(x);
  }
  return y;
}

void Stack::backward(Stream& stream, const Pass& pass, const DeviceRows& rows, const LayerPass& shared,
                     Saved saved, Tensor dy, const TensorView& dmemory,
                     std::vector<MoeRecord>& records) const {
  const Tensor dx = Tensor::zeros(stream, saved.x.shape());
  norm_.backward(stream, saved.x, dy, saved.norm, dx);
  saved.x = Tensor();
  dy = Tensor();
  std::vector<MoeRecord> from_last;
  for (std::size_t i = layers_.size(); i-- > 0;) {
    Use use(stream, shared, {at(i), at(layers_.size()), share_period_, place_.first_layer}, true);
    TransformerLayer::Saved layer = std::move(saved.layers[i]);
    if (shared.recompute) layers_[i].recompute(stream, pass, shared, layer);
    layers_[i].backward(stream, pass, shared, layer, dx, dmemory);
    use.end();
    if (auto record = layers_[i].record(layer)) from_last.push_back(std::move(*record));
  }
  if (shared.dropout > 0) ops::dropout_backward(stream, dx, shared.dropout, embedding_random(pass), dx);
  embedding_.backward(stream, saved.tokens, rows.position, dx);
  std::move(from_last.rbegin(), from_last.rend(), std::back_inserter(records));
}

}  // namespace moe

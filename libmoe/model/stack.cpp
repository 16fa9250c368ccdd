#include "libmoe/model/stack.h"

#include <algorithm>
#include <iterator>

#include "libmoe/model/model_layers.h"

namespace moe {
namespace {

std::int64_t at(std::size_t i) {
  return static_cast<std::int64_t>(i);
}

std::vector<TransformerLayer> make_layers(ParameterList& parameters, const StackSpec& spec,
                                          const ModelParts& parts) {
  std::vector<TransformerLayer> layers;
  layers.reserve(spec.layers.size());
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    const LayerSpec& layer = spec.layers[l];
    if (at(l) >= spec.share_period) {
      layers.emplace_back(layers[l - static_cast<std::size_t>(spec.share_period)], layer);
      continue;
    }
    parameters.begin_unit(spec.unit(at(l)));
    layers.emplace_back(parameters, layer_name(spec.name, at(l)), layer, parts);
  }
  return layers;
}

ParameterList& outside_layers(ParameterList& parameters) {
  parameters.begin_unit(0);
  return parameters;
}

// What an observer hears of a layer's parameters while they are used: of shared ones once in a pass, from the
// first layer that it comes to, to the last.
class Use {
 public:
  Use(Stream& stream, const LayerPass& shared, const StackSpec& spec, std::size_t layer, bool backward)
      : stream_(stream),
        observer_(shared.observer),
        unit_(spec.unit(at(layer))),
        backward_(backward),
        first_(at(layer) < spec.share_period),
        last_(at(spec.layers.size() - layer) <= spec.share_period) {
    const bool begins = backward ? last_ : first_;
    if (observer_ != nullptr && begins) observer_->before_use(stream_, unit_, backward_);
  }
  void end() {
    const bool ends = backward_ ? first_ : last_;
    if (observer_ != nullptr && ends) observer_->after_use(stream_, unit_, backward_);
  }

 private:
  Stream& stream_;
  UnitObserver* observer_;
  int unit_;
  bool backward_, first_, last_;  // of the layers with these weights
};

}  // namespace

Stack::Stack(ParameterList& parameters, const StackSpec& spec, const Table& table, const ModelParts& parts)
    : spec_(spec),
      embedding_(parameters, spec.name, table, spec.positions),
      layers_(make_layers(parameters, spec, parts)),
      norm_(outside_layers(parameters), spec.name + ".norm", spec.norm) {}

kernels::RandomStream Stack::embedding_random(const Pass& pass) const {
  return pass.of_layer(static_cast<std::uint32_t>(spec_.layers.front().index))
      .random.stream(RandomUse::embedding_dropout, spec_.norm.width);
}

Tensor Stack::forward(Stream& stream, const Pass& pass, const DeviceRows& rows, const LayerPass& shared,
                      Saved* saved, std::vector<MoeRecord>& records) const {
  Device& device = stream.device();
  Tensor x(device, {rows.n_rows, spec_.norm.width});
  Table::Fetched unused;
  embedding_.forward(stream, rows.ids, rows.position, x, saved != nullptr ? saved->tokens : unused);
  if (dropout(pass) > 0) ops::dropout_add(stream, x, {}, dropout(pass), embedding_random(pass), x);
  if (saved != nullptr) saved->layers.resize(layers_.size());
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    Use use(stream, shared, spec_, i, false);
    TransformerLayer::Saved freed;
    x = layers_[i].forward(stream, pass, shared, std::move(x), saved != nullptr ? saved->layers[i] : freed);
    if (shared.watch) shared.watch(layer_name(spec_.name, at(i)), x);
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
    Use use(stream, shared, spec_, i, true);
    TransformerLayer::Saved layer = std::move(saved.layers[i]);
    if (shared.recompute) layers_[i].recompute(stream, pass, shared, layer);
    layers_[i].backward(stream, pass, shared, layer, dx, dmemory);
    use.end();
    if (auto record = layers_[i].record(layer)) from_last.push_back(std::move(*record));
  }
  if (dropout(pass) > 0) ops::dropout_backward(stream, dx, dropout(pass), embedding_random(pass), dx);
  embedding_.backward(stream, saved.tokens, rows.position, dx);
  std::move(from_last.rbegin(), from_last.rend(), std::back_inserter(records));
}

}  // namespace moe

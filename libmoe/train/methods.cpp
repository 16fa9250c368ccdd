#include "libmoe/train/methods.h"

#include <algorithm>

#include "libmoe/base/error.h"
#include "libmoe/base/log.h"
#include "libmoe/model/delink.h"
#include "libmoe/train/aggregate.h"
#include "libmoe/train/resize.h"
#include "libmoe/train/upcycle.h"

namespace moe {

void MethodOptions::describe(OptionTable& table) {
  table
      .add(
          "aggregate", &aggregate, "FILE,...",
          "Start from the union of these models of one shape and vocabulary: their experts side by side, the "
          "mean of all other weights, with a fresh optimizer")
      .file();
  table
      .add("upcycle", &upcycle, "FILE",
           "Start from this dense model: each of --n-experts experts is a copy of its layer's feed-forward "
           "network, and the gate is new")
      .file();
  table
      .add(
          "resize-experts", &resize_experts, "N",
          "Experts of each layer that has them from here on, also of a run that continues, whatever --n-experts "
          "says: the kept ones keep their optimizer state, further ones are copies; 0 = as many as there are")
      .range(0, 1 << 16);
  table
      .add("resize-by", &resize_by, "RULE",
           "Which experts are kept, or copied first: those with the most tokens of the dev split, or the "
           "first")
      .one_of({"use", "first"});
  table
      .add("resize-noise", &resize_noise, "X",
           "Noise on the gate's weights of a copied expert, in shares of their root mean square, so that "
           "copies get different tokens")
      .range(0, 100);
  table.add("delink", &delink, "",
            "Give each layer of a model trained with --share-layers its own copy of the weights, and go on");
}

void MethodOptions::check(const std::string& init_from) const {
  if (!init_from.empty() + !aggregate.empty() + !upcycle.empty() > 1)
    usage_error("--init-from, --aggregate and --upcycle: a run starts from one of them");
  if (aggregate.size() == 1) usage_error("--aggregate {}: it takes two models or more", aggregate[0]);
}

void MethodOptions::check_new() const {
  if (resize_experts > 0)
    usage_error(
        "--resize-experts {}: a new model has as many experts as --n-experts and --experts-per-layer say",
        resize_experts);
  if (delink) usage_error("--delink: the layers of a new model share their weights only with --share-layers");
}

bool MethodOptions::changes(const ModelConfig& config) const {
  if (delink && config.share_layers) return true;
  if (resize_experts == 0) return false;
  for (int layer = 0; layer < config.n_moe_layers(); ++layer)
    if (config.experts_in(layer) != resize_experts) return true;
  return config.n_moe_layers() == 0;  // which is refused
}

std::vector<std::string> MethodOptions::models() const {
  std::vector<std::string> files = aggregate;
  if (!upcycle.empty()) files.push_back(upcycle);
  return files;
}

Checkpoint combined_model(const MethodOptions& options, const ModelConfig& asked, std::uint64_t seed) {
  if (!options.upcycle.empty()) {
    Checkpoint dense = load_checkpoint(options.upcycle, false);
    delink_layers(dense, options.upcycle);
    return upcycle(std::move(dense), asked, seed, options.upcycle);
  }
  std::vector<Checkpoint> models;
  for (const std::string& file : options.aggregate) {
    models.push_back(load_checkpoint(file, false));
    delink_layers(models.back(), file);
  }
  return aggregate(models, options.aggregate, asked.top_k);
}

void prepare_model(const MethodOptions& options, const Dataset& dataset, const std::string& directions,
                   std::int64_t n_threads, const std::string& path, Checkpoint& checkpoint) {
  if (options.delink) delink_layers(checkpoint, path);
  if (options.resize_experts == 0) return;
  const ResizeOptions resize{.n_experts = options.resize_experts,
                             .by_use = options.resize_by == "use",
                             .noise = options.resize_noise,
                             .directions = directions,
                             .n_threads = n_threads};
  resize_experts(checkpoint, dataset, resize, path);
}

ModelConfig asked_after(const MethodOptions& options, const ModelConfig& asked, const ModelConfig& has) {
  ModelConfig result = asked;
  if (options.resize_experts > 0) {
    result.n_experts = has.n_experts;
    result.experts_per_layer = has.experts_per_layer;
  }
  if (options.delink) result.share_layers = has.share_layers;
  if (!options.upcycle.empty() && asked.gate_weights == GateWeights::automatic)
    result.gate_weights = has.gate_weights;
  return result;
}

}  // namespace moe

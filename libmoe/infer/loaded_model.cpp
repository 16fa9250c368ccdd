#include "libmoe/infer/loaded_model.h"

#include "libmoe/base/error.h"
#include "libmoe/model/checkpoint_file.h"
#include "libmoe/model/model_layers.h"
#include "libmoe/model/stored_model.h"

namespace moe::infer {

LoadedModel load_model(Stream& stream, const std::string& path, std::int64_t host_memory,
                       const HeldTypes& types) {
  const std::string format = h5::format_of(path);
  LoadedModel loaded;
  if (format == kCheckpointKind.name) {
    if (host_memory > 0)
      usage_error("--host-memory needs a store, and {} is a checkpoint; make a store with moe-shard split",
                  path);
    const CheckpointFile file(path);
    loaded.vocabulary = file.header().vocabulary;
    loaded.model = std::make_unique<Transformer>(
        stream, file.header().config, ModelParts{.weights = types.weights, .expert_weights = types.experts});
    file.load_parameters(stream, *loaded.model);
  } else if (format == kStoreKind.name) {
    StoredModel stored = load_store(path);
    const std::int64_t n_encoder = n_encoder_moe_layers(stored.config);
    const Placement placement = plan_placement(stored.experts, n_encoder, host_memory);
    loaded.vocabulary = stored.vocabulary;
    loaded.model = std::make_unique<Transformer>(stream, stored.config,
                                                 ModelParts{.experts = false, .weights = types.weights});
    upload_parameters(stream, stored.dense, *loaded.model, path);
    loaded.experts =
        std::make_unique<RingExpertSource>(stream.device(), std::move(stored.experts), n_encoder, placement);
  } else {
    bad_input("{} is a {}, not a model; give a checkpoint of moe-train or a store of moe-shard", path,
              format);
  }
  return loaded;
}

}  // namespace moe::infer

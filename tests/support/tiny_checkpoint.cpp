#include "tests/support/tiny_checkpoint.h"

#include <numeric>

#include "tests/support/device.h"
#include "tests/support/small_vocabulary.h"
#include "tests/support/tiny_model.h"

namespace moe::test {

ModelConfig translation_config() {
  ModelConfig config = tiny_config();
  config.vocab_size = small_vocabulary()->size();
  config.encoder_layers = 4;
  config.decoder_layers = 6;
  config.max_length = 40;
  return config;
}

Checkpoint tiny_checkpoint(const ModelConfig& config, std::uint64_t seed) {
  const auto device = open_device();
  Stream stream(*device, 1);
  Transformer model(stream, config);
  model.initialise(stream, seed);
  Checkpoint checkpoint{config, small_vocabulary(), download_parameters(stream, model), {}, {}};
  for (HostTensor& tensor : checkpoint.parameters)
    if (tensor.dims.size() > 1)
      for (float& value : tensor.values) value *= 3;
  for (std::int64_t layer = 0; layer < config.n_moe_layers(); ++layer) {
    std::vector<std::int64_t> ids(static_cast<std::size_t>(config.experts_in(static_cast<int>(layer))));
    std::iota(ids.begin(), ids.end(), std::int64_t{0});
    checkpoint.expert_ids.push_back(ids);
  }
  return checkpoint;
}

}  // namespace moe::test

// A model ready for inference, from a checkpoint or a store.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "libmoe/model/transformer.h"
#include "libmoe/store/ring_source.h"
#include "libmoe/text/vocabulary.h"

namespace moe::infer {

struct LoadedModel {
  std::shared_ptr<const Vocabulary> vocabulary;
  std::unique_ptr<Transformer> model;
  std::unique_ptr<RingExpertSource> experts;  // null: the model holds its experts
};

/// In what the matrices of products are held.
struct HeldTypes {
  WeightType weights = WeightType::f32, experts = WeightType::f32;
};

/// host_memory: bytes for the experts of a store, 0 = no limit. Throws Error(bad_input) naming a file that is
/// no model, Error(usage) naming --host-memory when it is too small or the model is not a store.
LoadedModel load_model(Stream& stream, const std::string& path, std::int64_t host_memory,
                       const HeldTypes& types = {});

}  // namespace moe::infer

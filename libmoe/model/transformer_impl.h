// What a Transformer is made of; for the files that implement it.
#pragma once
#include "libmoe/model/stack.h"
#include "libmoe/model/transformer.h"

namespace moe {

struct Transformer::Impl {
  ModelConfig config;
  ModelParts parts;
  ParameterList parameters;
  std::vector<std::unique_ptr<Table>> tables;
  const Table* output_table = nullptr;  // [V,D]; with tied embeddings the one table there is
  std::unique_ptr<Stack> encoder;       // null for a decoder-only model
  std::unique_ptr<Stack> decoder;

  /// The parameters have no place yet.
  Impl(const ModelConfig& model_config, const ModelParts& model_parts);
  void allocate(Stream& stream);
  const Table& add_table(const std::string& name);
  DeviceRows upload(Stream& stream, const Ragged& rows, const std::vector<std::int32_t>& language) const {
    return DeviceRows::upload(stream, rows, language, config.vocab_size, config.max_length);
  }
};

}  // namespace moe

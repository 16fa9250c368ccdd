#include "tests/faults/sample_files.h"

#include <fmt/ranges.h>

#include <random>

#include "libmoe/data/dataset_writer.h"
#include "libmoe/model/model_layers.h"
#include "libmoe/model/stored_model.h"
#include "libmoe/prune/expert_table.h"
#include "tests/support/small_vocabulary.h"

namespace moe::test {

namespace {

void write_dataset(const std::string& path) {
  const auto vocabulary = small_vocabulary();
  DatasetWriter writer(path, *vocabulary, true);
  CleaningTable cleaning{{"lines", "kept"}, {}};
  for (const int target : {1, -1}) {
    const int part = writer.add_part(0, target, 1.5);
    cleaning.counts.push_back({9, 8});
    for (const Split split : {Split::train, Split::dev}) {
      PartData data;
      PartText text;
      for (int i = 0; i < 8; ++i) {
        for (auto* side : {&data.source, &data.target}) {
          const auto ids = vocabulary->encode(small_sentence(i));
          side->tokens.insert(side->tokens.end(), ids.begin(), ids.end());
          side->offsets.push_back(static_cast<std::int64_t>(side->tokens.size()));
        }
        text.source.push_back(small_sentence(i));
        text.target.push_back(small_sentence(i));
      }
      writer.append(part, split, data, text);
    }
  }
  writer.set_cleaning(cleaning);
  writer.set_vocabulary_sample({5, 6}, "unigram");
  writer.add_source("somebody, CC0");
  writer.commit();
}

std::string load_dataset(const std::string& path) {
  const Dataset dataset(path);
  std::string all = fmt::format("{} {}", dataset.vocabulary_sample(), dataset.sources());
  all += fmt::format("{} {}", dataset.cleaning().reasons, dataset.cleaning().counts);
  for (int part = 0; part < static_cast<int>(dataset.parts().size()); ++part) {
    all += dataset.part_name(part) + std::to_string(dataset.parts()[static_cast<std::size_t>(part)].weight);
    for (const Split split : {Split::train, Split::dev, Split::test}) {
      const PartData data = dataset.load(part, split);
      for (const Sentences* side : {&data.source, &data.target})
        for (std::int64_t i = 0; i < side->size(); ++i) all += fmt::format("{}", (*side)[i]);
      if (split == Split::train) continue;
      const PartText text = dataset.load_text(part, split);
      all += fmt::format("{} {}", text.source, text.target);
      all += fmt::format("{}", dataset.lengths(split));
    }
  }
  return all + dataset.vocabulary().decode(dataset.vocabulary().encode(small_sentence(3)));
}

// Parameters of the names and shapes that matter to a store; the values are noise.
Checkpoint sample_checkpoint() {
  Checkpoint checkpoint;
  checkpoint.vocabulary = small_vocabulary();
  ModelConfig& config = checkpoint.config;
  config.vocab_size = checkpoint.vocabulary->size();
  config.encoder_layers = config.decoder_layers = 2;
  config.d_model = 8;
  config.n_heads = 2;
  config.d_ffn = 12;
  config.n_experts = 3;
  config.experts_per_layer = {3, 2};
  checkpoint.expert_ids = {{0, 1, 2}, {2, 0}};
  std::mt19937 random(5);
  const auto add = [&](const std::string& name, std::vector<std::int64_t> dims) {
    std::int64_t n = 1;
    for (const std::int64_t d : dims) n *= d;
    HostTensor tensor{name, std::move(dims), std::vector<float>(static_cast<std::size_t>(n))};
    for (float& value : tensor.values) value = static_cast<float>(random()) * 1e-9f;
    checkpoint.parameters.push_back(std::move(tensor));
  };
  add("embedding.weight", {config.vocab_size, config.d_model});
  add("dense.weight", {8, 600});
  const auto prefixes = moe_prefixes(config);
  for (std::size_t layer = 0; layer < prefixes.size(); ++layer) {
    const std::int64_t n = config.experts_in(static_cast<int>(layer));
    add(prefixes[layer] + "gate.weight", {8, n});
    add(prefixes[layer] + "experts.in.weight", {n, 8, 12});
    add(prefixes[layer] + "experts.in.bias", {n, 12});
    add(prefixes[layer] + "experts.out.weight", {n, 12, 8});
    add(prefixes[layer] + "experts.out.bias", {n, 8});
  }
  checkpoint.training.json = R"({"update": 7})";
  checkpoint.training.moments = {{"m/dense.weight", {2, 3}, {1, 2, 3, 4, 5, 6}}};
  checkpoint.training.expert_steps = {{"dense.weight", {1}, {7}}};
  return checkpoint;
}

template <class T>
std::string text_of(const std::vector<HostArray<T>>& tensors) {
  std::string all;
  for (const HostArray<T>& t : tensors) {
    all += fmt::format("{} {} ", t.name, t.dims);
    all.append(reinterpret_cast<const char*>(t.values.data()), t.values.size() * sizeof(T));
  }
  return all;
}

std::string text_of(const Checkpoint& c) {
  return c.config.to_json() + fmt::format("{} {}", c.expert_ids, c.vocabulary->languages()) +
         text_of(c.parameters) + c.training.json + text_of(c.training.moments) +
         text_of(c.training.expert_steps) + c.vocabulary->decode(c.vocabulary->encode(small_sentence(3)));
}

std::string text_of(const prune::ExpertTable& table) {
  std::string all = prune::format_expert_table(table);
  for (const ExpertUse::Layer& layer : table.use.layers)
    all += fmt::format("{}\n", layer.confidence_by_language);
  return all;
}

void write_expert_use(const std::string& path) {
  prune::ExpertTable table;
  table.use.languages = {"eng", "deu"};
  table.use.n_sentences = 40;
  for (const char* prefix : {"encoder.layers.1.moe.", "decoder.layers.1.moe."}) {
    ExpertUse::Layer layer;
    layer.prefix = prefix;
    layer.tokens = {10, 0, 30};
    layer.tokens_by_language = {{4, 0, 10}, {6, 0, 20}};
    layer.confidence = {0.5, 0, 0.75};
    layer.confidence_by_language = {{0.25, 0, 0.5}, {0.625, 0, 0.875}};
    layer.n_choices = layer.n_tokens = 40;
    layer.entropy = 1.25;
    table.use.layers.push_back(layer);
    table.expert_ids.push_back({0, 1, 2});
  }
  prune::save_expert_table(path, table, {}, true);
}

}  // namespace

const std::vector<SampleKind>& sample_kinds() {
  static const std::vector<SampleKind> kinds = {
      {"moe-dataset", write_dataset, load_dataset},
      {"moe-checkpoint",
       [](const std::string& path) { save_checkpoint(path, sample_checkpoint(), {}, true); },
       [](const std::string& path) { return text_of(load_checkpoint(path, true)); }},
      {"moe-store", [](const std::string& path) { save_store(path, sample_checkpoint(), "test", {}, true); },
       [](const std::string& path) { return text_of(load_whole_store(path)); }},
      {"moe-expert-use", write_expert_use,
       [](const std::string& path) { return text_of(prune::load_expert_table(path)); }}};
  return kinds;
}

}  // namespace moe::test

#include "tests/train/small_run.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "libmoe/base/error.h"
#include "libmoe/data/dataset_writer.h"
#include "libmoe/train/run.h"
#include "tests/support/small_vocabulary.h"

namespace moe::test {
namespace {

void add(const Vocabulary& vocabulary, const std::string& text, Sentences& sentences,
         std::vector<std::string>& texts) {
  const std::vector<std::int32_t> tokens = vocabulary.encode(text);
  sentences.tokens.insert(sentences.tokens.end(), tokens.begin(), tokens.end());
  sentences.offsets.push_back(static_cast<std::int64_t>(sentences.tokens.size()));
  texts.push_back(text);
}

std::string backwards(const std::string& sentence) {
  std::istringstream words(sentence);
  std::string result;
  for (std::string word; words >> word;) result = word + (result.empty() ? "" : " ") + result;
  return result;
}

}  // namespace

void write_small_dataset(const std::string& path, const std::vector<std::string>& languages, int n_pairs) {
  const auto vocabulary = small_vocabulary(languages);
  DatasetWriter writer(path, *vocabulary, false);
  const int pair = writer.add_part(0, 1, 1), text = writer.add_part(1, -1, 1);
  for (const Split split : {Split::train, Split::dev}) {
    PartData data;
    PartText texts;
    const int first = split == Split::train ? 0 : 60;
    for (int i = first; i < (split == Split::train ? n_pairs : 68); ++i) {
      add(*vocabulary, small_sentence(i), data.source, texts.source);
      add(*vocabulary, backwards(small_sentence(i)), data.target, texts.target);
    }
    writer.append(pair, split, data, texts);
  }
  PartData data;
  PartText texts;
  for (int i = 100; i < 120; ++i) add(*vocabulary, backwards(small_sentence(i)), data.source, texts.source);
  writer.append(text, Split::train, data, texts);
  writer.commit();
}

TrainOptions small_options(const TempDir& folder) {
  TrainOptions o;
  o.arithmetic.products = Products::f32;  // the same on every processor, and exact
  o.data = folder / "data.h5";
  o.output = folder / "model.h5";
  o.log_json = folder / "log.jsonl";
  o.model.encoder_layers = o.model.decoder_layers = 2;
  o.model.d_model = 32;
  o.model.d_ffn = 48;
  o.model.n_heads = 2;
  o.model.n_experts = 4;
  o.model.max_length = 64;
  o.model.dropout = 0;
  o.model.drop_tokens = true;
  o.batch_tokens = 200;
  o.schedule.rate = 3e-3;
  o.schedule.warmup = 5;
  o.updates = 10;
  o.log_every = 1;
  o.save_every = 0;
  o.validation.decoded_sentences = 0;
  o.threads = 1;
  return o;
}

std::string contents(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::vector<double> logged(const std::string& path, const std::string& event, const std::string& key) {
  std::vector<double> values;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);)
    if (const auto j = nlohmann::json::parse(line); j.at("event") == event)
      values.push_back(j.at(key).get<double>());
  return values;
}

std::pair<int, std::string> SmallRun::failure(const TrainOptions& options) {
  try {
    run_train(options);
  } catch (const Error& e) {
    return {static_cast<int>(e.code()), e.what()};
  }
  return {0, ""};
}

}  // namespace moe::test

// Examples as rows of a batch: control symbols, inputs and labels.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "libmoe/data/batch.h"
#include "libmoe/data/dataset.h"
#include "libmoe/data/direction.h"

namespace moe {

/// The ids that frame a sentence.
struct ControlIds {
  std::int32_t begin = 0, end = 0, denoise = 0;
  std::vector<std::int32_t> language;  // <2xx> by language index
  static ControlIds of(const Vocabulary& vocabulary);
};

using Tokens = std::span<const std::int32_t>;

/// Rows that an example takes, control symbols included.
struct ExampleRows {
  std::int64_t source = 0, target = 0;
};
ExampleRows example_rows(Task task, std::int64_t source_tokens, std::int64_t target_tokens);

/// Appends one sentence to a batch as batch.h lays it out. source is empty for a language model; for
/// denoising it is the damaged sentence. language: index of the target language.
void add_example(Batch& batch, const ControlIds& ids, Task task, Tokens source, Tokens target, int language);

/// The sentences of a split, held in memory.
struct Corpus {
  std::vector<std::string> languages;
  std::vector<Part> parts;
  std::vector<PartData> data;  // one per part
  std::string part_name(std::size_t part) const;
};
Corpus load_corpus(const Dataset& dataset, Split split);

/// Batches of at most batch_tokens rows (source and target) that hold the first max_sentences (0 = all)
/// sentences of one direction in order; sentences that take more than max_length rows on a side are left out.
std::vector<Batch> translation_batches(const PartData& data, const Direction& direction,
                                       const ControlIds& ids, std::int64_t max_sentences,
                                       std::int64_t max_length, std::int64_t batch_tokens);
/// The same for one side of a part (0 = source, 1 = target) as text of a language model.
std::vector<Batch> text_batches(const Sentences& sentences, int language, const ControlIds& ids,
                                std::int64_t max_sentences, std::int64_t max_length,
                                std::int64_t batch_tokens);

}  // namespace moe

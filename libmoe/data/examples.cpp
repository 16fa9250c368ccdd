#include "libmoe/data/examples.h"

#include <algorithm>
#include <limits>

namespace moe {
namespace {

/// Fills batches in order; take(i) gives the i-th example's sides.
template <class Take>
std::vector<Batch> fill_batches(std::int64_t n, Task task, int language, const ControlIds& ids,
                                std::int64_t max_length, std::int64_t batch_tokens, Take take) {
  std::vector<Batch> batches;
  std::int64_t used = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto [source, target] = take(i);
    const ExampleRows rows = example_rows(task, static_cast<std::int64_t>(source.size()),
                                          static_cast<std::int64_t>(target.size()));
    if (target.empty() || std::max(rows.source, rows.target) > max_length) continue;
    if (batches.empty() || used + rows.source + rows.target > batch_tokens) {
      batches.emplace_back();
      used = 0;
    }
    add_example(batches.back(), ids, task, source, target, language);
    used += rows.source + rows.target;
  }
  return batches;
}

std::int64_t limited(std::int64_t n, std::int64_t limit) {
  return limit > 0 ? std::min(n, limit) : n;
}

}  // namespace

ControlIds ControlIds::of(const Vocabulary& vocabulary) {
  ControlIds ids{vocabulary.begin_id(), vocabulary.end_id(), vocabulary.denoise_id(), {}};
  for (std::size_t l = 0; l < vocabulary.languages().size(); ++l)
    ids.language.push_back(vocabulary.language_id(static_cast<int>(l)));
  return ids;
}

ExampleRows example_rows(Task task, std::int64_t source_tokens, std::int64_t target_tokens) {
  if (task == Task::language_model) return {0, target_tokens + 1};
  return {source_tokens + (task == Task::denoise ? 3 : 2), target_tokens + 1};
}

void add_example(Batch& batch, const ControlIds& ids, Task task, Tokens source, Tokens target, int language) {
  std::vector<std::int32_t> rows;
  const std::int32_t language_id = ids.language[static_cast<std::size_t>(language)];
  if (task != Task::language_model) {
    if (task == Task::denoise) rows.push_back(ids.denoise);
    rows.push_back(language_id);
    rows.insert(rows.end(), source.begin(), source.end());
    rows.push_back(ids.end);
    batch.source.add(rows);
    rows.clear();
  }
  rows.push_back(task == Task::language_model ? language_id : ids.begin);
  rows.insert(rows.end(), target.begin(), target.end());
  batch.target.add(rows);
  batch.labels.insert(batch.labels.end(), target.begin(), target.end());
  batch.labels.push_back(ids.end);
  batch.language.push_back(language);
  batch.task.push_back(task);
}

std::string Corpus::part_name(std::size_t part) const {
  const std::string& source = languages[static_cast<std::size_t>(parts[part].source)];
  return parts[part].target < 0 ? source
                                : source + "-" + languages[static_cast<std::size_t>(parts[part].target)];
}

std::vector<Batch> translation_batches(const PartData& data, const Direction& direction,
                                       const ControlIds& ids, std::int64_t max_sentences,
                                       std::int64_t max_length, std::int64_t batch_tokens) {
  const Sentences& source = direction.reversed ? data.target : data.source;
  const Sentences& target = direction.reversed ? data.source : data.target;
  return fill_batches(limited(source.size(), max_sentences), Task::translate, direction.target, ids,
                      max_length, batch_tokens,
                      [&](std::int64_t i) { return std::pair<Tokens, Tokens>(source[i], target[i]); });
}

std::vector<Batch> text_batches(const Sentences& sentences, int language, const ControlIds& ids,
                                std::int64_t max_sentences, std::int64_t max_length,
                                std::int64_t batch_tokens) {
  return fill_batches(limited(sentences.size(), max_sentences), Task::language_model, language, ids,
                      max_length, batch_tokens,
                      [&](std::int64_t i) { return std::pair<Tokens, Tokens>({}, sentences[i]); });
}

}  // namespace moe

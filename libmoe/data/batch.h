// Sentences for one pass of a model: ragged, without padding.
#pragma once
#include <cstdint>
#include <vector>

namespace moe {

enum class Task : std::uint8_t { translate, denoise, language_model };

/// Rows end to end; sentence b has rows [begin[b], begin[b] + length[b]).
struct Ragged {
  std::vector<std::int32_t> tokens;         // [T]
  std::vector<std::int32_t> begin, length;  // [B]
  std::int64_t n_tokens() const { return static_cast<std::int64_t>(tokens.size()); }
  std::int64_t n_sentences() const { return static_cast<std::int64_t>(begin.size()); }
  void add(const std::vector<std::int32_t>& sentence) {
    begin.push_back(static_cast<std::int32_t>(tokens.size()));
    length.push_back(static_cast<std::int32_t>(sentence.size()));
    tokens.insert(tokens.end(), sentence.begin(), sentence.end());
  }
};

/// Encoder rows: [<denoise>] <2target> tokens </s>. Decoder rows: <s> tokens, labels: tokens </s>.
/// A language model has no source; its decoder rows are <2language> tokens, labels: tokens </s>.
struct Batch {
  Ragged source;                         // empty for decoder-only models
  Ragged target;                         // decoder inputs
  std::vector<std::int32_t> labels;      // [target tokens], -1 = not counted
  std::vector<std::int32_t> language;    // [B] target language index
  std::vector<Task> task;                // [B]
  std::vector<std::int32_t> drawn_from;  // [B] index of the batcher's source; empty outside training
  // Position of this batch's first rows in the update's global order: random numbers do not depend on the
  // split.
  std::int64_t first_source_row = 0, first_target_row = 0;
  // Rows of each data-parallel rank's part of the micro-batch, this one's included; empty: it is all of it.
  std::vector<std::int64_t> source_rows_by_rank, target_rows_by_rank;

  /// Of one sentence, on both sides.
  std::int64_t rows_of(std::size_t sentence) const {
    return target.length[sentence] + (source.length.empty() ? 0 : source.length[sentence]);
  }
};

/// The first sentence of each of n ranks, and one past the last: runs of sentences of about equal cost. A
/// rank may get none. cost: [B], not negative.
std::vector<std::size_t> divide_batch(const std::vector<double>& cost, int n_ranks);
/// A rank's sentences, by that division.
Batch part_of_batch(const Batch& batch, int rank, const std::vector<std::size_t>& begin);
/// With about equally many rows for each rank.
Batch part_of_batch(const Batch& batch, int rank, int n_ranks);

}  // namespace moe

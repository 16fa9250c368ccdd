#include "libmoe/decode/search.h"

#include <algorithm>
#include <cmath>

#include "libmoe/base/error.h"
#include "libmoe/core/ops.h"

namespace moe {
namespace {

constexpr std::int64_t kMaxBeam = 512;  // the top-k kernel's limit is above that

double normalised(double log_prob, std::size_t length, double penalty) {
  return log_prob / std::pow(static_cast<double>(std::max<std::size_t>(length, 1)), penalty);
}

/// A token of a hypothesis; hypotheses of a sentence share their beginnings.
struct Node {
  std::int32_t parent;  // -1: the prefix
  std::int32_t token;
  float log_prob;
};

struct Live {
  std::int32_t node = -1;
  double log_prob = 0;
};

struct Candidate {
  double log_prob;
  std::int32_t row;  // in the sentence's live rows
  std::int32_t token;
  float token_log_prob;
};

/// The first k tokens of each row by log-probability.
struct Choices {
  std::int64_t k = 0;
  std::vector<float> log_probs;
  std::vector<std::int32_t> tokens;
};

class SentenceSearch {
 public:
  SentenceSearch(const SearchInput& input, const SearchTokens& tokens, const SearchOptions& options)
      : input_(&input), tokens_(&tokens), options_(&options), live_(1) {}

  bool done() const { return live_.empty(); }
  std::size_t n_rows() const { return live_.size(); }

  /// The token row r is fed next.
  std::int32_t next_token(std::size_t r) const {
    if (n_fed_ < input_->prefix.size()) return input_->prefix[n_fed_];
    return nodes_[static_cast<std::size_t>(live_[r].node)].token;
  }

  /// After a step: chooses what goes on; parents: for each remaining row the row it continues from, counted
  /// from first_row.
  void advance(const Choices& choices, std::int64_t first_row, std::vector<std::int32_t>& parents) {
    if (++n_fed_ < input_->prefix.size()) {
      for (std::size_t r = 0; r < live_.size(); ++r)
        parents.push_back(static_cast<std::int32_t>(first_row + r));
      return;
    }
    const std::vector<Candidate> candidates = collect(choices, first_row);
    ++n_new_;
    const auto beam = static_cast<std::size_t>(options_->beam_size);
    std::vector<Live> next;
    std::vector<std::int32_t> next_rows;
    for (std::size_t rank = 0; rank < candidates.size() && next.size() < beam; ++rank) {
      const Candidate& c = candidates[rank];
      const std::int32_t parent = live_[static_cast<std::size_t>(c.row)].node;
      if (c.token == tokens_->end_id) {
        if (rank < beam) finish(parent, c.log_prob, &c.token_log_prob);
      } else {
        next.push_back({static_cast<std::int32_t>(nodes_.size()), c.log_prob});
        nodes_.push_back({parent, c.token, c.token_log_prob});
        next_rows.push_back(static_cast<std::int32_t>(first_row + c.row));
      }
    }
    live_ = std::move(next);
    if (n_complete_ >= beam || cannot_improve()) live_.clear();
    if (n_new_ >= input_->max_new) {
      for (const Live& l : live_) finish(l.node, l.log_prob, nullptr);
      live_.clear();
    }
    if (!live_.empty()) parents.insert(parents.end(), next_rows.begin(), next_rows.end());
  }

  std::vector<Hypothesis> take() {
    if (finished_.empty()) finish(-1, 0, nullptr);  // nothing could be chosen
    std::stable_sort(finished_.begin(), finished_.end(), better);
    const auto n = static_cast<std::size_t>(options_->n_best);
    if (finished_.size() > n) finished_.resize(n);
    return std::move(finished_);
  }

 private:
  static bool better(const Hypothesis& a, const Hypothesis& b) {
    return a.complete != b.complete ? a.complete : a.score > b.score;
  }

  std::vector<Candidate> collect(const Choices& choices, std::int64_t first_row) const {
    std::vector<Candidate> candidates;
    for (std::size_t r = 0; r < live_.size(); ++r) {
      const auto at = static_cast<std::size_t>((first_row + static_cast<std::int64_t>(r)) * choices.k);
      for (std::size_t i = at; i < at + static_cast<std::size_t>(choices.k); ++i) {
        const std::int32_t token = choices.tokens[i];
        const auto& forbidden = tokens_->forbidden;
        if (std::find(forbidden.begin(), forbidden.end(), token) != forbidden.end()) continue;
        if (token == tokens_->end_id && n_new_ < input_->min_new) continue;
        candidates.push_back({live_[r].log_prob + static_cast<double>(choices.log_probs[i]),
                              static_cast<std::int32_t>(r), token, choices.log_probs[i]});
      }
    }
    std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
      if (a.log_prob != b.log_prob) return a.log_prob > b.log_prob;
      return a.row != b.row ? a.row < b.row : a.token < b.token;
    });
    return candidates;
  }

  /// end_log_prob null: cut before </s>.
  void finish(std::int32_t node, double log_prob, const float* end_log_prob) {
    Hypothesis h;
    for (std::int32_t n = node; n >= 0; n = nodes_[static_cast<std::size_t>(n)].parent) {
      h.tokens.push_back(nodes_[static_cast<std::size_t>(n)].token);
      h.token_log_probs.push_back(nodes_[static_cast<std::size_t>(n)].log_prob);
    }
    std::reverse(h.tokens.begin(), h.tokens.end());
    std::reverse(h.token_log_probs.begin(), h.token_log_probs.end());
    if (end_log_prob != nullptr) h.token_log_probs.push_back(*end_log_prob);
    h.complete = end_log_prob != nullptr;
    h.log_prob = log_prob;
    h.score = normalised(log_prob, h.token_log_probs.size(), options_->length_penalty);
    if (h.complete) ++n_complete_;
    finished_.push_back(std::move(h));
  }

  /// True when no live hypothesis can still enter the n_best: at best it ends with no further loss, at the
  /// length that suits its score.
  bool cannot_improve() const {
    const auto n_best = static_cast<std::size_t>(options_->n_best);
    if (n_complete_ < n_best || live_.empty()) return false;
    std::vector<double> scores;
    for (const Hypothesis& h : finished_) scores.push_back(h.score);
    std::nth_element(scores.begin(), scores.begin() + static_cast<std::ptrdiff_t>(n_best - 1), scores.end(),
                     std::greater<>());
    const std::int64_t length = options_->length_penalty > 0 ? input_->max_new : n_new_ + 1;
    const double bound =
        normalised(live_.front().log_prob, static_cast<std::size_t>(length), options_->length_penalty);
    return bound <= scores[n_best - 1];
  }

  const SearchInput* input_;
  const SearchTokens* tokens_;
  const SearchOptions* options_;
  std::vector<Node> nodes_;
  std::vector<Live> live_;  // by falling log-probability
  std::vector<Hypothesis> finished_;
  std::size_t n_complete_ = 0, n_fed_ = 0;
  std::int64_t n_new_ = 0;
};

Choices choose(Stream& stream, const TensorView& logits, std::int64_t n_allowed, std::int64_t k) {
  ops::log_softmax(stream, logits);
  const std::int64_t rows = logits.rows();
  const Tensor values(stream.device(), {rows, k});
  const Tensor indices(stream.device(), {rows, k}, DType::i32);
  ops::top_k(stream, logits.columns(0, n_allowed), k, values, indices);
  Choices choices{k, to_host<float>(stream, values), to_host<std::int32_t>(stream, indices)};
  for (std::int64_t r = 0; r < rows; ++r)
    if (!std::isfinite(choices.log_probs[static_cast<std::size_t>(r * k)]))
      bad_input(
          "the model's scores are not finite: its training diverged, or the file was damaged before its "
          "checksums were made");
  return choices;
}

}  // namespace

void SearchOptions::describe(OptionTable& table) {
  table.group("Search");
  table.add("beam-size", &beam_size, "N", "hypotheses followed per sentence; 1 is greedy search")
      .range(1, kMaxBeam);
  table.add("n-best", &n_best, "N", "hypotheses kept per sentence, at most the beam size").range(1, kMaxBeam);
  table
      .add("length-penalty", &length_penalty, "A",
           "exponent of the length that divides a hypothesis' log-probability; 0 prefers short ones")
      .range(0, 10);
  table
      .add("min-length-factor", &min_length_factor, "X",
           "least output tokens, as a multiple of the source tokens")
      .range(0, 100);
  table
      .add("max-length-factor", &max_length_factor, "X",
           "most output tokens, as a multiple of the source tokens, plus 10")
      .range(0, 1000);
  table
      .add("max-length", &max_length, "TOKENS",
           "most output tokens whatever the source; 0 is what the model allows")
      .range(0, 1 << 20);
  table.add("batch-tokens", &batch_tokens, "TOKENS", "source tokens decoded together").range(1, 1 << 24);
}

void SearchOptions::check() const {
  if (beam_size < 1 || beam_size > kMaxBeam)
    usage_error("--beam-size {} is outside 1 to {}", beam_size, kMaxBeam);
  if (n_best < 1 || n_best > beam_size)
    usage_error("--n-best {} needs a --beam-size of at least as many (it is {})", n_best, beam_size);
  if (batch_tokens < 1) usage_error("--batch-tokens {}: at least 1", batch_tokens);
  if (min_length_factor > max_length_factor)
    usage_error("--min-length-factor {} is above --max-length-factor {}", min_length_factor,
                max_length_factor);
}

std::vector<std::vector<Hypothesis>> beam_search(Stream& stream, StepModel& model,
                                                 const std::vector<SearchInput>& sentences,
                                                 const SearchTokens& tokens, const SearchOptions& options) {
  options.check();
  std::vector<SentenceSearch> searches;
  for (const SearchInput& input : sentences) {
    MOE_CHECK(!input.prefix.empty() && input.max_new >= 1);
    searches.emplace_back(input, tokens, options);
  }
  const std::int64_t n_columns = model.vocab_size();
  const std::int64_t n_allowed = tokens.n_allowed;
  // Enough for beam_size that go on, whatever is skipped on the way: forbidden tokens and </s>.
  const std::int64_t k =
      std::min(n_allowed, options.beam_size + 1 + static_cast<std::int64_t>(tokens.forbidden.size()));
  const Tensor buffer(stream.device(),
                      {static_cast<std::int64_t>(sentences.size()) * options.beam_size, n_columns});

  std::vector<std::int32_t> fed, parents;
  // One row per sentence until it branches.
  for (std::size_t i = 0; i < sentences.size(); ++i)
    parents.push_back(static_cast<std::int32_t>(static_cast<std::int64_t>(i) * options.beam_size));
  if (options.beam_size > 1) model.reorder(stream, parents);
  for (;;) {
    fed.clear();
    for (const SentenceSearch& s : searches)
      for (std::size_t r = 0; r < s.n_rows(); ++r) fed.push_back(s.next_token(r));
    if (fed.empty()) break;
    const auto n_rows = static_cast<std::int64_t>(fed.size());
    const TensorView logits = buffer.view().slice(0, n_rows);
    model.step(stream, fed, logits);
    const Choices choices = choose(stream, logits, n_allowed, k);
    parents.clear();
    std::int64_t first_row = 0;
    for (SentenceSearch& s : searches) {
      const auto n = static_cast<std::int64_t>(s.n_rows());
      if (n > 0) s.advance(choices, first_row, parents);
      first_row += n;
    }
    bool same = static_cast<std::int64_t>(parents.size()) == n_rows;
    for (std::size_t r = 0; same && r < parents.size(); ++r)
      same = parents[r] == static_cast<std::int32_t>(r);
    if (!same && !parents.empty()) model.reorder(stream, parents);
  }
  std::vector<std::vector<Hypothesis>> results;
  for (SentenceSearch& s : searches) results.push_back(s.take());
  return results;
}

}  // namespace moe

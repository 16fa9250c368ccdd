#include "libmoe/train/update.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "libmoe/comm/wait_clock.h"
#include "libmoe/train/divergence.h"

namespace moe {
namespace {

void add_counts(const std::vector<std::int64_t>& from, std::vector<std::int64_t>& to) {
  if (to.size() < from.size()) to.resize(from.size());
  for (std::size_t i = 0; i < from.size(); ++i) to[i] += from[i];
}

// Adds up what the ranks saw of their tokens.
void reduce_balance(Communicator& data, std::vector<LayerBalance>& balance) {
  std::array<std::int64_t, 1> n_languages{0};
  for (const LayerBalance& b : balance)
    n_languages[0] = std::max(n_languages[0], static_cast<std::int64_t>(b.by_language.size()));
  data.all_reduce(Reduce::max, std::span<std::int64_t>(n_languages));
  std::vector<std::int64_t> counts;
  std::vector<double> sums;
  const auto visit = [&](const auto& count, const auto& sum) {
    for (LayerBalance& b : balance) {
      b.by_language.resize(static_cast<std::size_t>(n_languages[0]));
      for (auto& n : b.expert_tokens) count(n);
      for (auto& language : b.by_language) {
        language.resize(b.expert_tokens.size());
        for (auto& n : language) count(n);
      }
      count(b.n_dropped), count(b.n_choices), count(b.n_tokens);
      for (auto& c : b.expert_confidence) sum(c);
      sum(b.entropy_sum);
    }
  };
  visit([&](std::int64_t& n) { counts.push_back(n); }, [&](double& x) { sums.push_back(x); });
  data.all_reduce(Reduce::sum, std::span(counts));
  data.all_reduce(Reduce::sum, std::span(sums));
  auto count = counts.begin();
  auto sum = sums.begin();
  visit([&](std::int64_t& n) { n = *count++; }, [&](double& x) { x = *sum++; });
}

void reduce_sums(Communicator& data, UpdateResult& update) {
  if (data.size() == 1) return;
  std::array<double, 3> sums{update.loss_sum, update.nll_sum, static_cast<double>(update.n_target_tokens)};
  data.all_reduce(Reduce::sum, std::span<double>(sums));
  update.loss_sum = sums[0];
  update.nll_sum = sums[1];
  update.n_target_tokens = static_cast<std::int64_t>(sums[2]);
  reduce_balance(data, update.balance);
}

// Of the time since it began, how much was not waiting for other ranks.
class BusyClock {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
  double busy_seconds() const { return seconds() - (waited_seconds() - waited_); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  double waited_ = waited_seconds();
};

// By data-parallel rank, the same on all ranks of a tensor group, which work on the same sentences.
std::vector<double> gather_busy(const ProcessGrid& grid, const BusyClock& clock) {
  Communicator& data = grid.data();
  std::array<std::int64_t, 1> mine_ns{static_cast<std::int64_t>(clock.busy_seconds() * 1e9)};
  if (grid.tensor().size() > 1) grid.tensor().all_reduce(Reduce::max, std::span<std::int64_t>(mine_ns));
  std::vector<std::int64_t> all_ns(static_cast<std::size_t>(data.size()));
  data.all_gather(mine_ns, all_ns);
  std::vector<double> seconds;
  for (std::int64_t ns : all_ns) seconds.push_back(static_cast<double>(ns) * 1e-9);
  return seconds;
}

// rows[rank][task] += those of the batch, when it says where its sentences come from.
void count_rows(const Batch& batch, const std::vector<std::size_t>& begin,
                std::vector<std::vector<std::int64_t>>& rows) {
  for (std::size_t r = 0; r + 1 < begin.size(); ++r)
    for (std::size_t b = begin[r]; b < begin[r + 1] && !rows[r].empty(); ++b)
      rows[r][static_cast<std::size_t>(batch.drawn_from[b])] += batch.rows_of(b);
}

}  // namespace

void add_balance(const std::vector<LayerBalance>& from, std::vector<LayerBalance>& to) {
  if (to.size() < from.size()) to.resize(from.size());
  for (std::size_t l = 0; l < from.size(); ++l) {
    const LayerBalance& a = from[l];
    LayerBalance& b = to[l];
    add_counts(a.expert_tokens, b.expert_tokens);
    if (b.by_language.size() < a.by_language.size()) b.by_language.resize(a.by_language.size());
    for (std::size_t g = 0; g < a.by_language.size(); ++g) add_counts(a.by_language[g], b.by_language[g]);
    if (b.expert_confidence.size() < a.expert_confidence.size())
      b.expert_confidence.resize(a.expert_confidence.size());
    for (std::size_t e = 0; e < a.expert_confidence.size(); ++e)
      b.expert_confidence[e] += a.expert_confidence[e];
    b.n_dropped += a.n_dropped;
    b.n_choices += a.n_choices;
    b.entropy_sum += a.entropy_sum;
    b.n_tokens += a.n_tokens;
  }
}

UpdateResult run_update(Stream& stream, Transformer& model, Adam& adam, DataParallel& parallel,
                        const UpdateBatches& batches, const UpdateOptions& options) {
  const BusyClock clock;
  Communicator& data = model.parts().grid->data();
  TaskCosts by_rows(TaskRanks::rows, 0);
  TaskCosts& costs = options.costs != nullptr ? *options.costs : by_rows;
  std::vector<std::vector<std::int64_t>> rows(static_cast<std::size_t>(data.size()),
                                              std::vector<std::int64_t>(costs.cost_per_row().size()));
  UpdateResult update;
  update.n_source_tokens = batches.n_source_tokens;
  update.n_sentences = batches.n_sentences;
  const auto n_rows = static_cast<double>(batches.n_source_tokens + batches.n_target_tokens);

  parallel.begin_update(stream);
  PassOptions pass;
  pass.loss_scale = 1 / static_cast<double>(batches.n_target_tokens);
  pass.label_smoothing = options.label_smoothing;
  pass.product = options.product;
  pass.seed = options.seed;
  pass.update = options.update;
  pass.recompute = options.recompute;
  pass.observer = &parallel;
  std::vector<Batch> parts;  // of this rank
  for (const Batch& batch : batches.batches) {
    pass.aux_scale = static_cast<double>(batch.source.n_tokens() + batch.target.n_tokens()) / n_rows;
    parallel.begin_pass(&batch == &batches.batches.back());
    const std::vector<std::size_t> begin = divide_batch(costs.of_sentences(batch), data.size());
    count_rows(batch, begin, rows);
    const PassResult result =
        model.pass(stream, parts.emplace_back(part_of_batch(batch, data.rank(), begin)), pass);
    update.loss_sum += result.loss_sum;
    update.nll_sum += result.nll_sum;
    update.n_target_tokens += result.n_target_tokens;
    update.aux_loss += pass.aux_scale * result.aux_loss;
    update.z_loss += pass.aux_scale * result.z_loss;
    add_balance(result.balance, update.balance);
  }
  parallel.finish_gradients(stream);
  reduce_sums(data, update);
  // The loss of all ranks decides, on each: those of other tensor groups may have seen another one.
  update.gradient_norm = parallel.gradient_norm(stream, update.loss_sum);
  if (!std::isfinite(update.gradient_norm))
    report_divergence(stream, model, parallel, {options.update, update.loss_sum, parts, pass});
  adam.step(stream, model.parameters(), options.rate, clip_scale(update.gradient_norm, options.clip_norm));
  parallel.publish_values(stream);
  model.parameters().pack_changed(stream);
  update.seconds = clock.seconds();
  update.busy_seconds = gather_busy(*model.parts().grid, clock);
  costs.learn(update.busy_seconds, rows);
  return update;
}

}  // namespace moe

#include "libmoe/train/run.h"

#include <array>
#include <chrono>
#include <cmath>
#include <csignal>
#include <optional>
#include <tuple>

#include "libmoe/base/error.h"
#include "libmoe/base/log.h"
#include "libmoe/base/progress.h"
#include "libmoe/base/signals.h"
#include "libmoe/comm/agreement.h"
#include "libmoe/comm/together.h"
#include "libmoe/model/checkpoint_parts.h"
#include "libmoe/train/dry_run.h"
#include "libmoe/train/feeder.h"
#include "libmoe/train/output_lock.h"
#include "libmoe/train/report.h"
#include "libmoe/train/session.h"

namespace moe {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double kMuchLeftOut = 0.05;  // of the sentences

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::vector<std::string> layer_names(const Transformer& model) {
  std::vector<std::string> names;
  for (int l = 0; l < model.config().n_moe_layers(); ++l) names.push_back(model.moe_prefix(l));
  return names;
}

class Run {
 public:
  Run(const TrainOptions& options, Session& session)
      : options_(options),
        session_(session),
        state_(session.state()),
        world_(session.world()),
        n_epoch_sentences_(session.batcher().n_usable()),
        start_(Clock::now()),
        seconds_before_(state_.seconds),
        saved_update_(state_.update),
        asked_update_(state_.update) {
    on_first_rank(world_, [&] {
      reporter_.emplace(session.stream(), options.log_json, session.model().config(),
                        session.dataset().vocabulary().languages(), layer_names(session.model()),
                        n_epoch_sentences_, world_.size());
    });
  }

  /// has_weights: it starts from those of another model, whose score is the first to be better than.
  int run(const std::string& origin, const std::vector<std::string>& changes, bool has_weights) {
    introduce(origin, changes);
    start_progress();
    Feeder feeder(session_.batcher());
    if (has_weights && options_.valid_every > 0) validate();
    std::string reason;
    for (;;) {
      agree();
      if (const auto ended = session_.saver().poll()) note(*ended);
      if (due(options_.valid_every, state_.validated_update)) validate();
      if (due(options_.save_every, asked_update_))
        save();
      else if (save_best_)
        start_save({});
      reason = reason_to_end();
      if (!reason.empty()) break;
      step(feeder.next());
    }
    return finish(reason);
  }

 private:
  /// The signal and the time are those of all ranks: they decide what is done next.
  void agree() {
    state_.seconds = seconds_before_ + seconds_since(start_);
    std::array<double, 2> common{static_cast<double>(stop_signal()), world_.rank() == 0 ? state_.seconds : 0};
    world_.all_reduce(Reduce::max, std::span<double>(common));
    signal_ = static_cast<int>(common[0]);
    state_.seconds = common[1];
  }

  void introduce(const std::string& origin, const std::vector<std::string>& changes) {
    if (!reporter_) return;
    const Batcher& batcher = session_.batcher();
    const Footprint footprint = footprint_of(
        session_.model().config(), footprint_options(options_, session_.dataset(), session_.model().parts(),
                                                     session_.stream().n_threads()));
    log_info("{} : {} parameters, {} of experts : {} sentences in {} sources{}", origin,
             with_commas(footprint.n_parameters), with_commas(footprint.n_expert_parameters),
             with_commas(batcher.n_usable()), batcher.sources().size(),
             batcher.n_too_long() > 0 ? fmt::format(", {} too long for --max-length and left out",
                                                    with_commas(batcher.n_too_long()))
                                      : "");
    for (const std::string& change : changes) log_info("{}", change);
    const double share = static_cast<double>(batcher.n_too_long()) /
                         static_cast<double>(batcher.n_too_long() + batcher.n_usable());
    if (share > kMuchLeftOut)
      log_warn("{:.1f}% of the sentences of {} are longer than --max-length {} and left out", 100 * share,
               options_.data, session_.model().config().max_length);
    for (const TrainingSource& s : batcher.sources())
      log_debug("source {}: {} sentences, probability {:.4f}", s.name, s.usable.size(), s.probability);
    if (!session_.validator().has_sentences())
      log_warn("{}: nothing in split dev to validate on: no best model is kept", options_.data);
    reporter_->start(state_, footprint, options_.data);
  }

  void start_progress() {
    if (!reporter_) return;
    progress_.emplace("training", "updates", options_.updates, state_.update);
    if (options_.minutes > 0)
      progress_->limit_seconds(std::max(1e-3, 60 * options_.minutes - state_.seconds));
  }

  /// An interval has just been completed, and what it calls for has not been done yet.
  bool due(std::int64_t interval, std::int64_t done_at) const {
    return interval > 0 && state_.update > 0 && state_.update % interval == 0 && done_at != state_.update &&
           signal_ == 0;
  }

  double progress(std::int64_t update) const {
    double p = 0;
    if (options_.updates > 0) p = static_cast<double>(update) / static_cast<double>(options_.updates);
    if (options_.minutes > 0) p = std::max(p, state_.seconds / (60 * options_.minutes));
    return std::min(p, 1.0);
  }

  std::string reason_to_end() {
    if (signal_ != 0) return "signal";
    if (options_.updates > 0 && state_.update >= options_.updates) return "updates";
    if (options_.minutes > 0 && state_.seconds >= 60 * options_.minutes) return "minutes";
    if (options_.patience > 0 && state_.n_stalled >= options_.patience) return "patience";
    return "";
  }

  void step(const UpdateBatches& batches) {
    const Clock::time_point begin = Clock::now();
    const std::int64_t number = state_.update + 1;
    if (number <= options_.schedule.warmup) state_.warmup_progress = progress(number);
    UpdateOptions u;
    u.seed = static_cast<std::uint64_t>(options_.seed);
    u.update = static_cast<std::uint64_t>(number);
    u.rate = learning_rate(options_.schedule, number, progress(number), state_.warmup_progress);
    u.clip_norm = options_.clip_norm;
    u.label_smoothing = options_.label_smoothing;
    u.product = session_.product();
    u.recompute = options_.recompute;
    u.costs = &session_.task_costs();
    UpdateResult result;
    try {
      result =
          run_update(session_.stream(), session_.model(), session_.adam(), session_.parallel(), batches, u);
    } catch (const Error& e) {
      const bool diverged = e.code() == ErrorCode::failed;
      if (diverged) finish_save();  // all ranks have come here
      if (reporter_) reporter_->end(state_, diverged ? "diverged" : "failed");
      throw Error(e.code(), fmt::format("{}. {}", e.what(),
                                        saved_update_ > 0 ? fmt::format("{} holds update {}", options_.output,
                                                                        saved_update_)
                                                          : std::string("Nothing had been saved yet")));
    }
    state_.update = number;
    state_.n_sentences += batches.n_sentences;
    state_.n_tokens += batches.n_source_tokens + batches.n_target_tokens;
    state_.cursor = batches.after;
    interval_.add(result);
    interval_.seconds += seconds_since(begin);
    rate_ = u.rate;
    if (progress_) progress_->advance();
    if (number % options_.log_every == 0) report();
  }

  void report() {
    if (interval_.n_updates == 0) return;
    if (reporter_) reporter_->interval(interval_, state_, rate_);
    interval_ = {};
  }

  void validate() {
    state_.validated_update = state_.update;
    if (!session_.validator().has_sentences()) return;
    // Other tensors than those of an update: neither leaves its freed memory beside that of the other.
    Device& device = session_.stream().device();
    device.trim();
    const ValidationReport report =
        session_.validator().run(session_.stream(), {.product = session_.product()}, session_.model(),
                                 session_.parallel(), options_.label_smoothing);
    device.trim();
    const double score = options_.valid_metric == "loss"   ? report.loss
                         : options_.valid_metric == "bleu" ? report.bleu
                                                           : report.chrf;
    const bool better =
        options_.valid_metric == "loss" ? score < state_.best_score : score > state_.best_score;
    const bool is_best = std::isfinite(score) && (!state_.has_best || better);
    const std::string verdict = !is_best ? "" : state_.has_best ? "new best" : "the first";
    if (is_best) {
      best_before_ = {state_.has_best, state_.best_score, state_.best_update};
      state_.has_best = save_best_ = true;
      state_.best_score = score;
      state_.best_update = state_.update;
    }
    state_.n_stalled = is_best ? 0 : state_.n_stalled + 1;
    if (reporter_) reporter_->validation(report, state_, verdict);
  }

  void save() {
    const std::string kept = options_.beside_output(fmt::format("u{}", state_.update));
    std::vector<SaveTarget> targets;
    finish_save();
    if (options_.keep > 0 && (state_.kept.empty() || state_.kept.back() != kept)) {
      targets.push_back({kept, false});
      state_.kept.push_back(kept);
      while (static_cast<std::int64_t>(state_.kept.size()) > options_.keep) {
        gone_.push_back(state_.kept.front());
        state_.kept.erase(state_.kept.begin());
      }
    }
    targets.push_back({options_.output, true});
    asked_update_ = state_.update;
    start_save(std::move(targets));
  }

  /// With the best model before them when it is a new one.
  void start_save(std::vector<SaveTarget> targets) {
    finish_save();
    if (save_best_) targets.insert(targets.begin(), {options_.beside_output("best"), false});
    save_best_ = false;
    targets_ = targets;
    session_.start_save(std::move(targets));
  }

  void finish_save() {
    while (session_.saver().busy()) note(session_.saver().wait());
  }

  /// What became of a save.
  void note(const SaveReport& report) {
    if (reporter_) reporter_->saved(report, targets_.back().path);
    save_error_ = report.error;
    for (std::size_t t = 0; t < targets_.size(); ++t) note(targets_[t].path, t < report.n_in_place, report);
    if (!report.error.empty()) return save_output_alone(report);
    if (targets_.back().with_training && world_.rank() == 0)
      for (const std::string& path : gone_) remove_checkpoint(path);
    if (targets_.back().with_training) gone_.clear();
  }

  /// A model beside the output that cannot be written costs no state of the run.
  void save_output_alone(const SaveReport& report) {
    if (!targets_.back().with_training || report.n_in_place + 1 >= targets_.size()) return;
    targets_ = {targets_.back()};
    asked_update_ = state_.update;
    session_.start_save(targets_);
  }

  void note(const std::string& path, bool in_place, const SaveReport& report) {
    if (path == options_.output) {
      if (in_place) saved_update_ = report.update;
    } else if (path == options_.beside_output("best")) {
      if (!in_place) std::tie(state_.has_best, state_.best_score, state_.best_update) = best_before_;
    } else if (!in_place) {
      std::erase(state_.kept, path);
    }
  }

  int finish(const std::string& reason) {
    progress_.reset();
    report();
    const int signal = signal_;
    finish_save();
    if (signal == 0 && state_.update > 0 && state_.validated_update != state_.update) {
      validate();
      saved_update_ = -1;  // what it found is part of the state
    }
    if (saved_update_ != state_.update) {
      save();
      finish_save();
      if (!save_error_.empty()) {
        if (reporter_) reporter_->end(state_, "failed");
        fail(ErrorCode::failed, "{}", save_error_);
      }
    }
    if (signal == 0 && options_.average) on_first_rank(world_, [&] { average(); });
    if (!reporter_) return signal != 0 ? 128 + signal : 0;
    reporter_->end(state_, reason);
    log_info("{} at update {} ({:.1f} minutes in all): {}", signal != 0 ? "stopped by a signal" : "ended",
             with_commas(state_.update), state_.seconds / 60, options_.output);
    if (state_.has_best && signal == 0)
      log_info("best {} {:.4f} at update {}: {}", options_.valid_metric, state_.best_score,
               with_commas(state_.best_update), options_.beside_output("best"));
    return signal != 0 ? 128 + signal : 0;
  }

  void average() {
    if (state_.kept.size() < 2) {
      log_warn("--average: only {} model was kept, nothing to average; save more often", state_.kept.size());
      return;
    }
    const std::string path = options_.beside_output("average");
    save_checkpoint(path, average_checkpoints(state_.kept), state_.kept, true);
    log_info("average of {} models: {}", state_.kept.size(), path);
  }

  const TrainOptions& options_;
  Session& session_;
  RunState& state_;
  Communicator& world_;
  std::int64_t n_epoch_sentences_;
  std::optional<Reporter> reporter_;  // of rank 0
  std::optional<Progress> progress_;  // of rank 0
  int signal_ = 0;
  Clock::time_point start_;
  double seconds_before_, rate_ = 0;
  std::int64_t saved_update_;        // update that the output holds
  std::int64_t asked_update_;        // update that it was last asked to hold
  std::vector<SaveTarget> targets_;  // of the save under way
  std::string save_error_;           // of the last one
  bool save_best_ = false;           // the model as it is now is the best, and not yet being saved
  std::tuple<bool, double, std::int64_t> best_before_;
  std::vector<std::string> gone_;  // models that are not kept any more, to be removed after the next save
  Interval interval_;
};

}  // namespace

int run_train(const TrainOptions& options, const std::shared_ptr<Communicator>& world) {
  options.check();
  std::optional<OutputLock> lock;
  if (!options.dry_run) on_first_rank(*world, [&] { lock.emplace(options.output); });
  Origin origin;
  on_every_rank(*world, [&] { origin = find_origin(options); });
  if (options.dry_run) {
    dry_run(options, origin, world);
    return 0;
  }
  const std::string description = origin.resumed        ? "continuing " + origin.path
                                  : origin.path.empty() ? "new model"
                                                        : "starting from " + origin.path;
  require_same(*world,
               {{"what --data holds (checksum)", origin.state.dataset},
                {"what --output holds", fmt::format("{} at update {}", description, origin.state.update)},
                {"the model", origin.config.to_json()}});
  catch_stop_signals();
  std::signal(SIGPIPE, SIG_IGN);  // messages that nobody reads are no reason to end
  const std::vector<std::string> changes = origin.changes;
  const bool has_weights = !origin.path.empty() && !origin.resumed;
  Session session(options, std::move(origin), world);
  return Run(options, session).run(description, changes, has_weights);
}

}  // namespace moe

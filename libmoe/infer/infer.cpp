#include "libmoe/infer/infer.h"

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <exception>
#include <optional>
#include <system_error>

#include "libmoe/base/error.h"
#include "libmoe/base/log.h"
#include "libmoe/base/progress.h"
#include "libmoe/infer/lines.h"
#include "libmoe/infer/loaded_model.h"

namespace moe::infer {
namespace {

using Clock = std::chrono::steady_clock;

void write_out(const std::string& text) {
  clear_progress_line();
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    throw std::system_error(errno, std::generic_category(), "standard output");
}

class Translator {
 public:
  explicit Translator(const InferOptions& options)
      : options_(&options),
        device_(Device::open()),
        stream_(*device_, static_cast<int>(options.threads)),
        loaded_(load_model(stream_, options.model, options.host_memory.value,
                           {options.arithmetic.weights, options.type_of_experts()})),
        lines_(options, *loaded_.vocabulary, loaded_.model->config()),
        typed_(options.input == "-" && isatty(STDIN_FILENO) == 1) {}

  void run() {
    const auto start = Clock::now();
    if (!typed_) progress_.emplace("translating", "lines", 0);
    while (read_window()) translate_window();
    progress_.reset();
    if (fault_) std::rethrow_exception(fault_);
    report(std::chrono::duration<double>(Clock::now() - start).count());
    if (lines_.n_skipped() > 0)
      bad_input("{} of {} lines were not translated: an empty line stands for each (--on-error skip)",
                lines_.n_skipped(), n_lines_);
  }

 private:
  // What is wrong with a line waits until those before it are written, unless these are no text either.
  bool read_window() {
    inputs_.clear();
    empty_.clear();
    if (fault_) return false;
    const std::int64_t most = options_->flush || typed_ ? 1 : options_->window;
    TranslationInput input;
    try {
      while (static_cast<std::int64_t>(empty_.size()) < most && lines_.next(input)) {
        empty_.push_back(input.tokens.empty());
        if (!input.tokens.empty()) inputs_.push_back(std::move(input));
      }
    } catch (const NotText&) {
      throw;
    } catch (const Error&) {
      fault_ = std::current_exception();
    }
    return !empty_.empty();
  }

  void translate_window() {
    const auto results = translate(stream_, {.product = options_->arithmetic.product_on(*device_)},
                                   *loaded_.model, *loaded_.vocabulary, inputs_, options_->search,
                                   loaded_.experts.get(), [&](std::int64_t n) { advance(n); });
    std::string text;
    std::size_t next = 0;
    for (const bool empty : empty_) {
      if (empty) advance(1);
      const std::vector<Hypothesis>& hypotheses = empty ? none_ : results[next++];
      if (!empty) n_target_tokens_ += static_cast<std::int64_t>(hypotheses.front().token_log_probs.size());
      text += format_hypotheses(*loaded_.vocabulary, hypotheses, n_lines_++, *options_);
    }
    write_out(text);
  }

  void advance(std::int64_t n) {
    if (progress_) progress_->advance(n);
  }

  void report(double seconds) const {
    if (lines_.n_cut() > 0)
      log_warn(
          "{} lines were longer than the model allows ({} tokens) and were cut; split them, or find them "
          "with --strict",
          lines_.n_cut(), max_source_tokens(loaded_.model->config()));
    if (lines_.n_mended() > 0)
      log_warn("{} lines had broken UTF-8, each fault of which was read as U+FFFD", lines_.n_mended());
    if (lines_.n_unknown() > 0)
      log_warn("{} of {} source tokens are characters that the model's vocabulary has no piece for (<unk>)",
               lines_.n_unknown(), lines_.n_source_tokens());
    const auto rate = [&](std::int64_t n) { return static_cast<double>(n) / std::max(seconds, 1e-9); };
    log_info("{} lines in {:.2f} s: {:.1f} lines/s, {:.0f} source tokens/s, {:.0f} target tokens/s", n_lines_,
             seconds, rate(n_lines_), rate(lines_.n_source_tokens()), rate(n_target_tokens_));
    if (!loaded_.experts) return;
    const RingStatistics s = loaded_.experts->statistics();
    const Placement& p = loaded_.experts->placement();
    log_info("experts: {} in memory{}, {} read, hit rate {:.2f}%, {:.2f} s waited",
             format_bytes(p.total_bytes),
             p.n_slots == 0 ? " (all)" : fmt::format(" ({} ring slots)", p.n_slots),
             format_bytes(s.bytes_read), 100 * s.hit_rate(), s.fetch.stall_seconds);
  }

  const InferOptions* options_;
  std::unique_ptr<Device> device_;
  Stream stream_;
  LoadedModel loaded_;
  InputLines lines_;
  const bool typed_;  // at a terminal: each line is answered at once, nothing is drawn
  std::optional<Progress> progress_;
  std::exception_ptr fault_;
  std::vector<TranslationInput> inputs_;  // of the window, empty lines left out
  std::vector<bool> empty_;               // per line of the window
  const std::vector<Hypothesis> none_;
  std::int64_t n_lines_ = 0, n_target_tokens_ = 0;
};

}  // namespace

void run(const InferOptions& options) {
  options.check();
  Translator(options).run();
}

}  // namespace moe::infer

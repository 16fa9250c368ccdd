#include "libmoe/text/vocabulary_trainer.h"

#include <fcntl.h>
#include <poll.h>
#include <sentencepiece_trainer.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "libmoe/base/error.h"
#include "libmoe/base/signals.h"

namespace moe {
namespace {

constexpr std::size_t kKeptWords = 16384;  // of the trainer's messages, to find the reason of a failure
constexpr int kPollMilliseconds = 100;

class Sentences : public sentencepiece::SentenceIterator {
 public:
  explicit Sentences(const std::function<bool(std::string&)>& next) : next_(next) { Next(); }
  bool done() const override { return done_; }
  void Next() override { done_ = !next_(sentence_); }
  const std::string& value() const override { return sentence_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::function<bool(std::string&)>& next_;
  std::string sentence_;
  bool done_ = false;
};

std::unordered_map<std::string, std::string> arguments(const VocabularyTraining& o) {
  return {{"vocab_size", std::to_string(o.vocab_size)},
          {"model_type", o.model_type},
          {"character_coverage", fmt::format("{}", o.character_coverage)},
          {"byte_fallback", o.byte_fallback ? "true" : "false"},
          {"normalization_rule_name", o.normalization_rule_name},
          {"hard_vocab_limit", "false"},
          {"max_sentence_length", "1000000"},
          {"unk_id", "0"},
          {"bos_id", "1"},
          {"eos_id", "2"},
          {"pad_id", "-1"},
          // The sums of the EM algorithm depend on the number of threads: fixed, so that machines agree.
          {"num_threads", "16"}};
}

void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) _exit(1);
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

[[noreturn]] void run_child(const VocabularyTraining& options, const std::function<bool(std::string&)>& next,
                            int model_fd, int words_fd) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  dup2(words_fd, STDERR_FILENO);
  dup2(words_fd, STDOUT_FILENO);
  int code = 1;
  try {
    Sentences sentences(next);
    std::string model;
    const auto status = sentencepiece::SentencePieceTrainer::Train(arguments(options), &sentences, &model);
    if (status.ok()) {
      write_all(model_fd, model);
      code = 0;
    } else {
      write_all(STDERR_FILENO, std::string(status.message()) + "\n");
    }
  } catch (const std::exception& e) {
    write_all(STDERR_FILENO, std::string(e.what()) + "\n");
  }
  _exit(code);
}

struct Pipe {
  std::array<int, 2> fd{-1, -1};
  Pipe() {
    if (pipe2(fd.data(), O_CLOEXEC) != 0)
      fail(ErrorCode::failed, "vocabulary: no pipe ({})", std::strerror(errno));
  }
  ~Pipe() {
    close_end(0);
    close_end(1);
  }
  void close_end(int end) {
    int& f = fd[static_cast<std::size_t>(end)];
    if (f >= 0) ::close(f);
    f = -1;
  }
};

/// Ends with the object: a child never outlives the call.
struct Child {
  pid_t pid;
  bool ended = false;
  int wait() {
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    ended = true;
    return status;
  }
  ~Child() {
    if (ended) return;
    kill(pid, SIGKILL);
    wait();
  }
};

/// One end of a pipe was ready: appends what it holds; closes it at its end.
void drain(Pipe& pipe, std::string& out) {
  std::array<char, 65536> block;
  const ssize_t n = ::read(pipe.fd[0], block.data(), block.size());
  if (n > 0) out.append(block.data(), static_cast<std::size_t>(n));
  if (n == 0 || (n < 0 && errno != EINTR)) pipe.close_end(0);
}

/// Follows the trainer's messages: a unigram model shrinks by a factor from its seed to the wanted size, a
/// BPE model grows by one.
class ProgressReader {
 public:
  explicit ProgressReader(const VocabularyTraining& options) : options_(options) {}

  /// The share done after these messages, which may end in the middle of a line.
  double read(std::string_view words) {
    line_.append(words);
    for (auto end = line_.find('\n'); end != std::string::npos; end = line_.find('\n')) {
      read_line(std::string_view(line_).substr(0, end));
      line_.erase(0, end + 1);
    }
    return share_;
  }

 private:
  void read_line(std::string_view line) {
    const bool counts = line.find("EM sub_iter=") != line.npos || line.find("Added: freq=") != line.npos;
    const auto at = counts ? line.find(" size=") : line.npos;
    if (at == line.npos) return;
    double size = 0;
    std::from_chars(line.data() + at + 6, line.data() + line.size(), size);
    const auto wanted = static_cast<double>(options_.vocab_size);
    if (size <= 0) return;
    if (seed_ == 0) seed_ = size;
    const double share =
        options_.model_type == "bpe" ? size / wanted : std::log(seed_ / size) / std::log(seed_ / wanted);
    if (std::isfinite(share)) share_ = std::clamp(share, share_, 1.0);
  }

  const VocabularyTraining& options_;
  std::string line_;
  double seed_ = 0, share_ = 0;
};

/// The number behind the second of these texts that follows the first.
std::optional<std::int64_t> number_after(const std::string& words, std::string_view first,
                                         std::string_view second) {
  auto at = words.find(first);
  if (at != words.npos) at = words.find(second, at);
  if (at == words.npos) return std::nullopt;
  std::int64_t number = 0;
  std::from_chars(words.data() + at + second.size(), words.data() + words.size(), number);
  return number;
}

std::string remedy(const std::string& words, const VocabularyTraining& options) {
  if (const auto least = number_after(words, "smaller than required_chars. ", " vs "))
    return fmt::format(
        "the corpus has too many characters for a vocabulary of {}; give --vocab-size {} or more{}",
        options.vocab_size, *least,
        options.character_coverage > kLeastCoverage ? ", or lower --character-coverage" : "");
  if (const auto most = number_after(words, "Vocabulary size too high", "<= "))
    return fmt::format("the corpus is too small for a vocabulary of {}; give --vocab-size {} or less",
                       options.vocab_size, *most);
  std::string last = words.substr(0, words.find_last_not_of('\n') + 1);
  last.erase(0, last.rfind('\n') + 1);
  return last.empty() ? "it ended without a word; there may be too little memory or text" : last;
}

}  // namespace

std::string train_vocabulary(const VocabularyTraining& options, const std::function<bool(std::string&)>& next,
                             bool verbose, const std::function<void(double)>& on_progress) {
  Pipe model_pipe, words_pipe;
  const pid_t pid = fork();
  if (pid < 0) fail(ErrorCode::failed, "vocabulary: no child process ({})", std::strerror(errno));
  if (pid == 0) run_child(options, next, model_pipe.fd[1], words_pipe.fd[1]);
  Child child{pid};
  model_pipe.close_end(1);
  words_pipe.close_end(1);
  std::string model, words;
  ProgressReader progress(options);
  while (model_pipe.fd[0] >= 0 || words_pipe.fd[0] >= 0) {
    std::array<pollfd, 2> ready{pollfd{model_pipe.fd[0], POLLIN, 0}, pollfd{words_pipe.fd[0], POLLIN, 0}};
    if (poll(ready.data(), ready.size(), kPollMilliseconds) < 0 && errno != EINTR) break;
    if (const int signal = stop_signal(); signal != 0)
      throw Error(static_cast<ErrorCode>(128 + signal), "stopped by a signal; nothing was written");
    if (ready[0].revents != 0) drain(model_pipe, model);
    if (ready[1].revents == 0) continue;
    const std::size_t known = words.size();
    drain(words_pipe, words);
    const std::string_view news = std::string_view(words).substr(known);
    if (verbose) std::fwrite(news.data(), 1, news.size(), stderr);
    const double share = progress.read(news);
    if (on_progress) on_progress(share);
    if (words.size() > 2 * kKeptWords) words.erase(0, words.size() - kKeptWords);
  }
  const int status = child.wait();
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || model.empty())
    fail(ErrorCode::failed, "the SentencePiece trainer failed: {}", remedy(words, options));
  if (on_progress) on_progress(1);
  return model;
}

}  // namespace moe

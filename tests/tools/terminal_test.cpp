// The tools as a person types at them: a pseudo-terminal is their standard input, output and error.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/support/small_vocabulary.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_checkpoint.h"

namespace moe {
namespace {

constexpr char kEnd[] = "\x04";  // Ctrl-D

class Terminal {
 public:
  /// words: the name of a tool, then its arguments.
  explicit Terminal(std::vector<std::string> words) {
    termios plain{};
    plain.c_lflag = ICANON;  // no echo, no carriage returns: what appears is what the program wrote
    plain.c_cflag = CS8 | CREAD;
    for (cc_t& c : plain.c_cc) c = _POSIX_VDISABLE;
    plain.c_cc[VEOF] = kEnd[0];
    process_ = forkpty(&terminal_, nullptr, &plain, nullptr);
    if (process_ == 0) {
      words.front() = MOE_BINARY_DIR "/bin/" + words.front();
      std::vector<char*> argv;
      for (std::string& word : words) argv.push_back(word.data());
      argv.push_back(nullptr);
      execv(argv[0], argv.data());
      _exit(127);
    }
  }
  ~Terminal() {
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
    close(terminal_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void type(const std::string& text) {
    ASSERT_EQ(write(terminal_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  /// What appears next, to the end of a line.
  std::string line() {
    std::string text;
    for (char c = 0; next(c);) {
      if (c == '\n') return text;
      text += c;
    }
    ADD_FAILURE() << "no line appears after: " << text;
    return text;
  }
  /// What appears until the program ends.
  std::string rest() {
    std::string text;
    for (char c = 0; next(c);) text += c;
    return text;
  }
  /// After rest().
  int exit_code() {
    int status = 0;
    return waitpid(process_, &status, ended_ ? 0 : WNOHANG) == process_ && WIFEXITED(status)
               ? WEXITSTATUS(status)
               : -1;
  }

 private:
  bool next(char& c) {
    constexpr int kPatienceMs = 60'000;  // a program that waits for more is not waited for
    pollfd one{terminal_, POLLIN, 0};
    if (poll(&one, 1, kPatienceMs) != 1) {
      ADD_FAILURE() << "the program waits for more";
      return false;
    }
    if (read(terminal_, &c, 1) == 1) return true;
    ended_ = true;  // a terminal that nobody holds any more is an error to read
    return false;
  }

  int terminal_ = -1;
  pid_t process_ = -1;
  bool ended_ = false;
};

class AtATerminal : public ::testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
  test::TempDir folder_;
};

TEST_F(AtATerminal, InferAnswersEachLineAndEndsByOneCtrlD) {
  const std::string model = folder_ / "model.h5", answers = folder_ / "answers",
                    lines = write("lines", test::small_sentence(1) + "\n" + test::small_sentence(2) + "\n");
  save_checkpoint(model, test::tiny_checkpoint(test::translation_config()), {}, false);
  ASSERT_EQ(std::system((MOE_BINARY_DIR "/bin/moe-infer -q -m " + model + " -t deu --max-length 12 " + lines +
                         " >" + answers)
                            .c_str()),
            0);
  std::ifstream expected(answers);
  Terminal terminal({"moe-infer", "-m", model, "-t", "deu", "--max-length", "12"});
  for (int i = 1; i <= 2; ++i) {
    terminal.type(test::small_sentence(i) + "\n");
    std::string answer;
    std::getline(expected, answer);
    ASSERT_EQ(terminal.line(), answer) << i;
  }
  terminal.type(kEnd);
  EXPECT_EQ(terminal.rest().substr(0, 11), "2 lines in ");
  EXPECT_EQ(terminal.exit_code(), 0);
}

TEST_F(AtATerminal, NothingTypedIsAnEndToo) {
  const std::string model = folder_ / "model.h5", reference = write("reference", "Good day.\n");
  save_checkpoint(model, test::tiny_checkpoint(test::translation_config()), {}, false);
  const std::pair<std::vector<std::string>, int> kCases[] = {
      {{"moe-infer", "-q", "-m", model, "-t", "deu"}, 0},
      {{"moe-score", "-r", reference}, 3},
      {{"moe-prep", "build", "-q", "--pair", "eng-deu", "-o", folder_ / "data.h5", "-"}, 3}};
  for (const auto& [words, code] : kCases) {
    Terminal terminal(words);
    terminal.type(kEnd);
    terminal.rest();
    EXPECT_EQ(terminal.exit_code(), code) << words.front();
  }
}

TEST_F(AtATerminal, ScoreEndsByOneCtrlD) {
  Terminal terminal({"moe-score", "-m", "chrf++", "-r", write("reference", "Good day.\nThank you.\n")});
  terminal.type("Good day.\nThank you.\n");
  terminal.type(kEnd);
  EXPECT_NE(terminal.rest().find(" = 100.0"), std::string::npos);
  EXPECT_EQ(terminal.exit_code(), 0);
}

TEST_F(AtATerminal, PrepEndsByOneCtrlD) {
  const std::string data = folder_ / "data.h5";
  Terminal terminal({"moe-prep", "build", "-q", "--pair", "eng-deu", "--vocab-size", "300", "--dev-share",
                     "0", "--test-share", "0", "-o", data, "-"});
  terminal.type("Good morning.\tGuten Morgen.\nThank you.\tDanke.\nSee you soon.\tBis bald.\n");
  terminal.type(kEnd);
  EXPECT_EQ(terminal.rest(), "");
  EXPECT_EQ(terminal.exit_code(), 0);
  EXPECT_TRUE(std::filesystem::exists(data));
}

}  // namespace
}  // namespace moe

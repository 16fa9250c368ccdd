// A small tool run in this process: what it parses, merges, prints and returns.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "libmoe/base/error.h"
#include "libmoe/base/outputs.h"
#include "tests/support/temp_dir.h"
#include "tools/common/tool.h"

namespace moe::tools {
namespace {

struct Options {
  std::int64_t beam_size = 4;
  double penalty = 0.5;
  std::string text = "plain", input, output;
  Bytes memory{1000001};
  bool cache = true, force = false;
  std::vector<std::string> refs, metrics{"bleu"};
};

struct Outcome {
  int code;
  std::string out, err;
};

class RunTool : public ::testing::Test {
 protected:
  Tool tool(bool with_commands = false) {
    Command command;
    command.summary = "Do one thing";
    command.examples = {{"Do it", "moe-test in.txt"}};
    command.describe = [this](OptionTable& table) {
      table.group("Search");
      table.add("beam-size", &options.beam_size, "N", "Hypotheses kept").short_name('b').range(1, 64);
      table.add("penalty", &options.penalty, "X", "Length penalty");
      table.add("text", &options.text, "WORD", "Some text");
      table.add("memory", &options.memory, "BYTES", "Memory to use");
      table.add("cache", &options.cache, "", "Keep keys and values");
      table.add("force", &options.force, "", "Overwrite").short_name('f');
      table.add("ref", &options.refs, "FILE", "References").short_name('r').file();
      table.add("metric", &options.metrics, "NAME,...", "Metrics").one_of({"bleu", "chrf", "chrf++"});
      table.add("output", &options.output, "FILE", "Output file").short_name('o').output();
      table.add("input", &options.input, "IN", "Input file").argument().file();
    };
    command.run = [this] { return body(); };
    Tool made{"moe-test", "Try things", "Tries things out.", {command}, {}};
    if (with_commands) {
      made.commands.front().name = "one";
      made.commands.push_back(made.commands.front());
      made.commands.back().name = "two";
    }
    return made;
  }

  Outcome run(std::vector<std::string> arguments, bool with_commands = false) {
    options = Options{};
    arguments.insert(arguments.begin(), "moe-test");
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    const int code = run_tool(static_cast<int>(arguments.size()), argv.data(), tool(with_commands));
    std::string out = ::testing::internal::GetCapturedStdout();
    return {code, std::move(out), ::testing::internal::GetCapturedStderr()};
  }

  std::string file(const std::string& name, const std::string& content) {
    std::ofstream(folder / name) << content;
    return folder / name;
  }

  Options options;
  std::function<int()> body = [] { return 0; };
  test::TempDir folder;
};

TEST_F(RunTool, WordsReachTheOptions) {
  const Outcome o = run({"-b8", "--penalty", "-0.25", "--memory=2MiB", "--text=", "--no-cache", "-f", "-r",
                         "a", "-r", "b", "--metric", "chrf,chrf++", "--", "-in"});
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(options.beam_size, 8);
  EXPECT_EQ(options.penalty, -0.25);
  EXPECT_EQ(options.memory.value, 2 << 20);
  EXPECT_EQ(options.text, "");
  EXPECT_FALSE(options.cache);
  EXPECT_TRUE(options.force);
  EXPECT_EQ(options.refs, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(options.metrics, (std::vector<std::string>{"chrf", "chrf++"}));
  EXPECT_EQ(options.input, "-in");
}

TEST(ListArgument, TakesEveryWord) {
  std::vector<std::string> files;
  std::string text;
  Command command;
  command.describe = [&](OptionTable& table) {
    table.add("files", &files, "FILE", "Input files").argument();
    table.add("text", &text, "WORD", "Some text");
  };
  command.run = [] { return 0; };
  std::vector<std::string> words{"moe-test", "a", "b,c", "--text", "x", "d", "-", "e"};
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  EXPECT_EQ(
      run_tool(static_cast<int>(argv.size()), argv.data(), {"moe-test", "Try", "Tries.", {command}, {}}), 0);
  EXPECT_EQ(files, (std::vector<std::string>{"a", "b,c", "d", "-", "e"}));
  EXPECT_EQ(text, "x");
}

TEST_F(RunTool, LastWordWinsAndADashIsAnArgument) {
  EXPECT_EQ(
      run({"--beam-size=2", "--beam-size", "3", "--force", "--no-force", "--text", "--force", "-"}).code, 0);
  EXPECT_EQ(options.beam_size, 3);
  EXPECT_FALSE(options.force);
  EXPECT_EQ(options.text, "--force");
  EXPECT_EQ(options.input, "-");
}

TEST_F(RunTool, UsageErrorsAreOneLineAndTwo) {
  const std::pair<std::vector<std::string>, std::string> kCases[] = {
      {{"--beam-siz", "3"},
       "moe-test: error: unknown option --beam-siz; did you mean --beam-size? (see moe-test --help)\n"},
      {{"--beam-size", "99"}, "moe-test: error: --beam-size: 99 is outside 1 to 64\n"},
      {{"--beam-size", "4x"}, "moe-test: error: --beam-size: '4x' is not a whole number in range\n"},
      {{"--metric", "bleu,ter"}, "moe-test: error: --metric: 'ter' is none of bleu, chrf, chrf++\n"},
      {{"--force=perhaps"}, "moe-test: error: --force: 'perhaps' is neither true nor false\n"},
      {{"--text"}, "moe-test: error: --text needs a value\n"},
      {{"one", "two"}, "moe-test: error: argument 'two' is one too many (see moe-test --help)\n"},
      {{"-z"}, "moe-test: error: unknown option -z (see moe-test --help)\n"},
      {{"--memory", "2 XB"},
       "moe-test: error: --memory: '2 XB' is not a size: write 512MiB, 2G or a number of bytes\n"}};
  for (const auto& [arguments, message] : kCases) {
    const Outcome o = run(arguments);
    EXPECT_EQ(o.code, 2);
    EXPECT_EQ(o.err, message);
    EXPECT_EQ(o.out, "");
  }
}

TEST_F(RunTool, CommandLineBeatsEnvironmentBeatsFiles) {
  const std::string first =
      file("a.toml", "beam_size = 2\npenalty = 1\ntext = \"first\"\nref = [\"x\", \"y\"]\n");
  const std::string second = file("b.toml", "text = \"second\"\nmemory = \"3MiB\"\nforce = true\n");
  setenv("MOE_BEAM_SIZE", "5", 1);
  setenv("MOE_PENALTY", "0.75", 1);
  setenv("MOE_CACHE", "0", 1);
  EXPECT_EQ(run({"-c", first, "-c", second, "--beam-size", "6"}).code, 0);
  EXPECT_EQ(options.beam_size, 6);
  EXPECT_EQ(options.penalty, 0.75);
  EXPECT_EQ(options.text, "second");
  EXPECT_EQ(options.memory.value, 3 << 20);
  EXPECT_TRUE(options.force);
  EXPECT_FALSE(options.cache);
  EXPECT_EQ(options.refs, (std::vector<std::string>{"x", "y"}));
  setenv("MOE_BEAM_SIZE", "many", 1);
  const Outcome o = run({});
  EXPECT_EQ(o.code, 2);
  EXPECT_EQ(
      o.err,
      "moe-test: error: environment variable MOE_BEAM_SIZE: --beam-size: 'many' is not a whole number in "
      "range\n");
  for (const char* name : {"MOE_BEAM_SIZE", "MOE_PENALTY", "MOE_CACHE"}) unsetenv(name);
}

TEST_F(RunTool, AMisspeltVariableIsWarnedOf) {
  const std::pair<const char*, const char*> kCases[] = {
      {"MOE_BEAM_SICE", "MOE_BEAM_SIZE"}, {"MOE_PENALITY", "MOE_PENALTY"}, {"MOE_REFS", "MOE_REF"}};
  for (const auto& [name, meant] : kCases) {
    setenv(name, "5", 1);
    const Outcome o = run({});
    EXPECT_EQ(o.code, 0);
    EXPECT_EQ(o.err,
              fmt::format("moe-test: warning: environment variable {} is no option; did you mean {}?\n", name,
                          meant));
    EXPECT_EQ(run({"-q"}).err, "");
    unsetenv(name);
  }
  for (const char* name :
       {"MOE_CPU_ISA", "MOE_BEAM_SIZE", "MOE_SOMETHING_OF_ANOTHER_TOOL", "MOEBEAM_SIZE", "MOE_TAXT2"}) {
    setenv(name, "5", 1);
    EXPECT_EQ(run({}).err, "") << name;
    unsetenv(name);
  }
}

TEST_F(RunTool, FaultsOfAFileNameFileLineAndKey) {
  const std::tuple<std::string, int, std::string> kCases[] = {
      {"beam_size = 2\nbeams = 3\n", 2, ":2: unknown key 'beams'; keys are the option names with _ for -\n"},
      {"beam-size = 2\n", 2, ":1: unknown key 'beam-size'; keys are the option names with _ for -\n"},
      {"help = true\n", 2, ":1: unknown key 'help'; keys are the option names with _ for -\n"},
      {"beam_size = 2.5\n", 2, ":1: key 'beam_size': --beam-size: '2.5' is not a whole number in range\n"},
      {"[beam_size]\nx = 1\n", 2, ":1: key 'beam_size': the value must be a string, a number or a boolean\n"},
      {"beam_size = \n", 3, ":1: not TOML: "}};
  for (const auto& [content, code, message] : kCases) {
    const std::string path = file("bad.toml", content);
    const Outcome o = run({"-c", path});
    EXPECT_EQ(o.code, code) << content;
    EXPECT_TRUE(o.err.starts_with("moe-test: error: " + path + message)) << o.err;
    EXPECT_EQ(std::count(o.err.begin(), o.err.end(), '\n'), 1);
  }
  EXPECT_EQ(run({"-c", folder / "absent.toml"}).code, 3);
  EXPECT_EQ(run({"-c", folder.path()}).code, 3);
  EXPECT_EQ(run({"-c", "/dev/zero"}).code, 3);
  EXPECT_EQ(run({"-c", file("empty.toml", "")}).code, 0);
}

TEST_F(RunTool, DumpedConfigurationReadsBack) {
  const Outcome dumped =
      run({"-b", "7", "--penalty", "2", "--text", "a \"b\"\n\\c'", "--no-cache", "-r", "x,y", "-r", "z",
           "--metric", "bleu,chrf", "--log-level", "warn", "--dump-config"});
  ASSERT_EQ(dumped.code, 0) << dumped.err;
  ASSERT_EQ(run({"-c", file("d.toml", dumped.out)}).code, 0);
  EXPECT_EQ(options.beam_size, 7);
  EXPECT_EQ(options.penalty, 2.0);
  EXPECT_EQ(options.text, "a \"b\"\n\\c'");
  EXPECT_EQ(options.memory.value, 1000001);
  EXPECT_FALSE(options.cache);
  EXPECT_EQ(options.refs, (std::vector<std::string>{"x,y", "z"}));
  EXPECT_EQ(options.metrics, (std::vector<std::string>{"bleu", "chrf"}));
  EXPECT_EQ(run({"-c", folder / "d.toml", "--dump-config"}).out, dumped.out);
}

TEST_F(RunTool, CommandsHaveTheirOwnTables) {
  const std::string path = file("c.toml", "beam_size = 2\n[one]\nbeam_size = 3\n[two]\nbeam_size = 9\n");
  EXPECT_EQ(run({"-q", "one", "-c", path, "two"}, true).code, 0);
  EXPECT_EQ(options.beam_size, 3);
  EXPECT_EQ(options.input, "two");
  EXPECT_EQ(run({"three"}, true).err, "moe-test: error: unknown command 'three' (see moe-test --help)\n");
  EXPECT_EQ(run({}, true).code, 2);
  EXPECT_EQ(run({"--help"}, true).code, 0);
  EXPECT_EQ(run({"two", "--help"}, true).out, run({"--help", "two"}, true).out);
}

TEST_F(RunTool, HelpShowsDefaultsGroupsAndAnExample) {
  const Outcome o = run({"--help"});
  EXPECT_EQ(o.code, 0);
  EXPECT_EQ(o.err, "");
  EXPECT_NE(o.out.find("Usage: moe-test [OPTION]... [IN]\n"), std::string::npos) << o.out;
  EXPECT_NE(o.out.find("\nSearch:\n  -b, --beam-size N         Hypotheses kept [1 to 64; default: 4]\n"),
            std::string::npos)
      << o.out;
  EXPECT_NE(o.out.find("\n      --[no-]cache          Keep keys and values [default: on]\n"),
            std::string::npos)
      << o.out;
  EXPECT_NE(o.out.find("\nExample: Do it\n  moe-test in.txt\n"), std::string::npos) << o.out;
  EXPECT_EQ(o.out.find("emit-docs"), std::string::npos);
}

// One file under several names: none of them may be read and written. The body never runs.
TEST_F(RunTool, NoOutputIsAnInput) {
  const std::string real = file("real", "text"), absent = folder / "absent";
  std::filesystem::create_symlink(real, folder / "link");
  std::filesystem::create_hard_link(real, folder / "hard");
  bool ran = false;
  body = [&] { return ran = true, 0; };
  for (const std::string& output : {real, folder / "link", folder / "hard", folder / "./real"})
    for (const std::vector<std::string>& input : std::vector<std::vector<std::string>>{
             {real}, {"--ref", "x", "--ref", real}, {"-c", real}, {"--log", real}}) {
      std::vector<std::string> words{"-f", "-o", output};
      words.insert(words.end(), input.begin(), input.end());
      if (input[0] == "-c") file("real", "text = 'x'\n");
      const Outcome o = run(words);
      EXPECT_EQ(o.code, 2) << o.err;
      EXPECT_NE(o.err.find("--output " + output), std::string::npos) << o.err;
      EXPECT_NE(o.err.find("are one file"), std::string::npos) << o.err;
    }
  EXPECT_EQ(run({"-o", absent, "--log", folder / "./absent"}).code, 2);
  EXPECT_FALSE(ran);
  EXPECT_FALSE(std::filesystem::exists(absent));
  EXPECT_EQ(run({"-o", absent, real, "--ref", real}).code, 0);
  // Inputs that are found later.
  body = [&] { return check_input({"part", real}), 0; };
  const Outcome o = run({"--log", folder / "link"});
  EXPECT_EQ(o.code, 2);
  EXPECT_NE(o.err.find("part and --log"), std::string::npos) << o.err;
  EXPECT_EQ(std::filesystem::file_size(real), std::string("text = 'x'\n").size());  // nor is that said there
}

TEST_F(RunTool, AReadOnlyOutputIsReplacedByForceAlone) {
  const std::string real = file("real", "text");
  std::filesystem::create_symlink(real, folder / "link");
  std::filesystem::permissions(real, std::filesystem::perms::owner_read);
  for (const std::string& output : {real, folder / "link"}) {
    EXPECT_EQ(run({"-f", "-o", output}).code, 0);
    const Outcome o = run({"-o", output});
    EXPECT_EQ(o.code, 2);
    EXPECT_NE(o.err.find("read-only; make it writable"), std::string::npos) << o.err;
    EXPECT_EQ(run({output}).code, 0);
  }
}

TEST_F(RunTool, ExceptionsBecomeExitCodes) {
  body = []() -> int { bad_input("{}: broken", "x.h5"); };
  EXPECT_EQ(run({}).code, 3);
  body = []() -> int { fail(ErrorCode::device, "no device"); };
  Outcome o = run({"-q"});
  EXPECT_EQ(o.code, 4);
  EXPECT_EQ(o.err, "moe-test: error: no device\n");
  body = []() -> int { throw std::bad_alloc(); };
  o = run({});
  EXPECT_EQ(o.code, 1);
  EXPECT_TRUE(o.err.starts_with("moe-test: error: out of memory")) << o.err;
  body = []() -> int { throw std::runtime_error("odd"); };
  EXPECT_EQ(run({}).code, 1);
  body = [] { return 143; };
  EXPECT_EQ(run({}).code, 143);
}

}  // namespace
}  // namespace moe::tools

// Whole runs of moe-prep build on small files.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <set>

#include "libmoe/base/error.h"
#include "libmoe/data/dataset.h"
#include "libmoe/prep/corpus.h"
#include "libmoe/prep/options.h"
#include "tests/support/files.h"
#include "tests/support/small_vocabulary.h"
#include "tests/support/temp_dir.h"

namespace moe::prep {
namespace {

using test::small_sentence;
using test::write_file;

class Build : public testing::Test {
 protected:
  Build() {
    o.output = dir / "out.h5";
    o.pair = "eng-deu";
    o.training.vocab_size = 300;
    o.threads = 2;
    o.dev_share = o.test_share = 0;
  }
  std::string file(const std::string& name, const std::string& text) {
    write_file(dir / name, text);
    return dir / name;
  }
  /// The message of the error that the run ends with; nothing may be left beside the inputs.
  std::string error(ErrorCode code = ErrorCode::bad_input) {
    std::set<std::string> before, after;
    for (const auto& e : std::filesystem::directory_iterator(dir.path())) before.insert(e.path());
    std::string message;
    try {
      run_build(o);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), code) << e.what();
      message = e.what();
    }
    for (const auto& e : std::filesystem::directory_iterator(dir.path())) after.insert(e.path());
    EXPECT_EQ(before, after);
    return message;
  }
  static std::int64_t count(const Dataset& d, const std::string& reason, std::size_t part = 0) {
    for (std::size_t r = 0; r < d.cleaning().reasons.size(); ++r)
      if (d.cleaning().reasons[r] == reason) return d.cleaning().counts[part][r];
    return -1;
  }
  static bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  }

  test::TempDir dir;
  BuildOptions o;
};

/// n different pairs.
std::string pairs(int n, int first = 0) {
  std::string text;
  for (int i = first; i < first + n; ++i)
    text += small_sentence(i) + " " + std::to_string(i) + "\t" + small_sentence(i + 3) + " n" +
            std::to_string(i) + "\n";
  return text;
}

TEST_F(Build, EncodesWhatSurvives) {
  o.files = {file("a.tsv", pairs(50) +
                               "one column\n\tempty\nok go\tjust  fine\r\nok go\tjust fine\nsame\tsame\n" +
                               "Привет там\thello there\n")};
  o.dev = {file("dev.tsv", "ok\tgut\nok\tgut\n")};
  o.test = {file("test.tsv", small_sentence(7) + " 7\tsomething else\n")};
  o.licence = "CC0";
  o.attribution = "nobody";
  EXPECT_EQ(run_build(o), 0);
  const Dataset d(o.output);
  EXPECT_EQ(d.parts()[0].n_sentences, (std::array<std::int64_t, 3>{50, 2, 1}));
  EXPECT_EQ(count(d, "lines"), 59);
  EXPECT_EQ(count(d, "dropped_columns"), 1);
  EXPECT_EQ(count(d, "dropped_empty"), 1);
  EXPECT_EQ(count(d, "dropped_duplicate"), 1);
  EXPECT_EQ(count(d, "dropped_identical"), 1);
  EXPECT_EQ(count(d, "dropped_script"), 1);
  EXPECT_EQ(count(d, "dropped_leak"), 1);
  EXPECT_EQ(count(d, "mended_crlf"), 1);
  EXPECT_EQ(count(d, "kept"), 53);
  EXPECT_EQ(d.load_text(0, Split::dev).target, (std::vector<std::string>{"gut", "gut"}));
  const auto train = d.load(0, Split::train);
  const auto ids = train.source[49];
  EXPECT_EQ(d.vocabulary().decode({ids.begin(), ids.end()}), "ok go");
  EXPECT_EQ(d.vocabulary().encode("ok go"), std::vector<std::int32_t>(ids.begin(), ids.end()));
  EXPECT_EQ(d.sources(), std::vector<std::string>{"CC0; nobody: eng-deu"});
}

TEST_F(Build, IsTheSameForAnyNumberOfThreads) {
  o.files = {file("a.tsv", pairs(2000))};
  o.dev_share = o.test_share = 0.05;
  run_build(o);
  const Dataset a(o.output);
  o.output = dir / "b.h5";
  o.threads = 5;
  run_build(o);
  const Dataset b(o.output);
  ASSERT_TRUE(a.vocabulary().same_as(b.vocabulary()));
  for (const Split split : {Split::train, Split::dev, Split::test}) {
    EXPECT_GT(a.load(0, split).source.size(), 50);
    EXPECT_EQ(a.load(0, split).source.tokens, b.load(0, split).source.tokens);
    EXPECT_EQ(a.load(0, split).target.offsets, b.load(0, split).target.offsets);
  }
}

TEST_F(Build, HashSplitsKeepTrainCleanAcrossLanguages) {
  std::string deu, fra, mono;
  for (int i = 0; i < 400; ++i) {
    const std::string english = "line " + std::to_string(i);
    deu += english + "\tZeile " + std::to_string(i % 350) + "\n";
    fra += english + "\tligne " + std::to_string(i) + "\n";
    mono += (i % 2 ? english : "alone " + std::to_string(i)) + "\n";
  }
  file("deu.tsv", deu);
  file("fra.tsv", fra);
  file("eng.txt", mono);
  o.pair.clear();
  o.corpus =
      file("corpus.toml",
           "[[pair]]\nsource='eng'\ntarget=['deu','fra']\ntrain='{target}.tsv'\n[[mono]]\nlanguage='eng'\n"
           "train='eng.txt'\nweight=0.5\n");
  o.dev_share = o.test_share = 0.1;
  run_build(o);
  const Dataset d(o.output);
  ASSERT_EQ(d.parts().size(), 3u);
  EXPECT_EQ(d.parts()[2].weight, 0.5);
  std::set<std::string> held_out, train_text;
  std::array<std::set<std::string>, 2> test_sources;
  for (int p = 0; p < 3; ++p)
    for (const Split split : {Split::dev, Split::test}) {
      const auto text = d.load_text(p, split);
      held_out.insert(text.source.begin(), text.source.end());
      held_out.insert(text.target.begin(), text.target.end());
      if (p < 2 && split == Split::test)
        test_sources[static_cast<std::size_t>(p)] = {text.source.begin(), text.source.end()};
    }
  EXPECT_EQ(test_sources[0], test_sources[1]);
  EXPECT_GT(test_sources[0].size(), 10u);
  for (int p = 0; p < 3; ++p) {
    const auto train = d.load(p, Split::train);
    for (const Sentences* side : {&train.source, &train.target})
      for (std::int64_t i = 0; i < side->size(); ++i) {
        const auto ids = (*side)[i];
        EXPECT_FALSE(held_out.contains(d.vocabulary().decode({ids.begin(), ids.end()})));
      }
  }
  EXPECT_GT(count(d, "dropped_leak"), 0);
}

TEST_F(Build, TakesAVocabulary) {
  o.files = {file("a.tsv", pairs(20))};
  const auto small = test::small_vocabulary();
  o.vocabulary = file("small.model", small->model_bytes());
  run_build(o);
  EXPECT_EQ(Dataset(o.output).vocabulary().model_bytes(), small->model_bytes());
  o.vocabulary_from = o.output;
  o.output = dir / "second.h5";
  EXPECT_TRUE(has(error(ErrorCode::usage), "exclude each other"));
  o.vocabulary.clear();
  o.pair = "fra-eng";
  run_build(o);
  EXPECT_EQ(Dataset(o.output).vocabulary().languages(), (std::vector<std::string>{"eng", "deu", "fra"}));
  o.vocabulary_from.clear();
  o.output = dir / "third.h5";
  o.vocabulary = file("not.model", "no model");
  EXPECT_TRUE(has(error(), "not.model"));
  o.vocabulary = file("hdf5.model", "\x89HDF\r\n\x1a\n");
  EXPECT_TRUE(has(error(), "is an HDF5 file, not a SentencePiece model; --vocabulary-from")) << error();
  o.vocabulary = dir.path();
  EXPECT_TRUE(has(error(), "Is a directory")) << error();
  o.vocabulary = dir / "absent";
  EXPECT_TRUE(has(error(), "absent: No such file")) << error();
  EXPECT_TRUE(has(error(), "absent"));
  o.vocabulary.clear();
  o.vocabulary_from = o.files[0];
  EXPECT_TRUE(has(error(), "a.tsv"));
}

TEST_F(Build, ReadsAlignedColumnsAndMonolingualFiles) {
  o.aligned = true;
  o.files = {file("a.eng", "one\ntwo\n"), file("a.deu", "eins\nzwei\n")};
  run_build(o);
  EXPECT_EQ(Dataset(o.output).parts()[0].n_sentences[0], 2);
  o.force = true;
  o.aligned = false;
  o.columns = "3,2";
  o.files = {file("c.tsv", "id1\teins\tone\tmore\nid2\tzwei\ttwo\n")};
  o.test = {file("t.tsv", "id\tdrei\tthree\n")};
  run_build(o);
  EXPECT_EQ(Dataset(o.output).load_text(0, Split::test).source, std::vector<std::string>{"three"});
  o.columns.clear();
  o.pair.clear();
  o.mono = "eng";
  o.test.clear();
  o.files = {file("m.txt", "a tab\there stays text\n")};
  run_build(o);
  EXPECT_EQ(Dataset(o.output).part_name(0), "eng");
  EXPECT_EQ(Dataset(o.output).parts()[0].n_sentences[0], 1);
}

TEST_F(Build, NamesWhatIsWrongWithFiles) {
  o.aligned = true;
  o.files = {file("a.eng", "one\ntwo\nthree\n"), file("a.deu", "eins\nzwei\n")};
  const std::string unequal = error();
  EXPECT_TRUE(has(unequal, "a.eng has 3 lines") && has(unequal, "a.deu has 2")) << unequal;
  o.aligned = false;
  o.files = {dir / "absent.tsv"};
  EXPECT_TRUE(has(error(), "absent.tsv"));
  o.files = {file("three.tsv", "1\teins\tone\n2\tzwei\ttwo\n")};
  EXPECT_TRUE(has(error(), "three.tsv: no line has the columns")) << error();
  o.files = {file("empty.tsv", "")};
  EXPECT_TRUE(has(error(), "no sentence"));
  o.files = {file("all-dropped.tsv", "same\tsame\n")};
  EXPECT_TRUE(has(error(), "no sentence"));
  o.files = {file("cut.gz", std::string("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b", 11))};
  EXPECT_TRUE(has(error(), "cut.gz"));
}

TEST_F(Build, CountsGarbage) {
  std::string garbage;
  for (std::uint32_t i = 0; i < 100000; ++i) garbage += static_cast<char>(i * i * 31 / 7 + i / 256);
  o.files = {file("garbage", pairs(20000) + garbage)};
  o.vocabulary = file("small.model", test::small_vocabulary()->model_bytes());
  run_build(o);
  const Dataset d(o.output);
  EXPECT_GT(count(d, "dropped_columns"), 100);
  EXPECT_GT(count(d, "mended_utf8"), 10);
  EXPECT_GE(d.load(0, Split::train).source.size(), 20);
  o.output = dir / "other.h5";
  o.files = {file("noise", garbage + "\n" + pairs(20))};
  EXPECT_TRUE(has(error(), "noise")) << error();
}

TEST_F(Build, RefusesWhatIsNoTextBeforeItReadsAnything) {
  o.files = {file("a.tsv", pairs(20)), file("picture.png", "\x89PNG\r\n\x1a\n")};
  o.temporary_folder = dir / "absent";  // would be the first fault of a run that begins
  EXPECT_TRUE(has(error(), "picture.png: is a PNG picture, not text")) << error();
  o.files = {};
  o.pair.clear();
  o.corpus = file("corpus.toml", "\x89PNG\r\n\x1a\n");
  EXPECT_TRUE(has(error(), "corpus.toml: is a PNG picture")) << error();
}

TEST_F(Build, ReadsOtherEncodingsByTheirNames) {
  std::string utf8, latin1;
  for (int i = 0; i < 60; ++i) {
    utf8 += fmt::format("number {} is good\tdie Zahl {} ist schön\n", i, i);
    latin1 += fmt::format("number {} is good\tdie Zahl {} ist sch\xf6n\n", i, i);
  }
  o.files = {file("utf8.tsv", utf8)};
  run_build(o);
  const auto expected = Dataset(o.output).load(0, Split::train).target.tokens;
  o.files = {file("latin1.tsv", latin1)};
  o.force = true;
  const std::string message = error();
  EXPECT_TRUE(has(message, "latin1.tsv: 60 of 60 lines are not UTF-8, the first is line 1; ")) << message;
  EXPECT_TRUE(message.ends_with("give --encoding ISO-8859-1")) << message;
  o.encoding = "ISO-8859-1";
  run_build(o);
  EXPECT_EQ(Dataset(o.output).load(0, Split::train).target.tokens, expected);
  o.encoding = "Klingon";
  EXPECT_TRUE(has(error(ErrorCode::usage), "--encoding: ICU knows no 'Klingon'"));
  o.encoding = kUtf8;
  o.files.clear();
  o.pair.clear();
  for (const char* where : {"encoding='latin1'\n[[pair]]\n", "[[pair]]\nencoding='latin1'\n"}) {
    o.corpus =
        file("corpus.toml", fmt::format("\uFEFF{}source='eng'\ntarget='deu'\ntrain='latin1.tsv'\n", where));
    run_build(o);
    EXPECT_EQ(Dataset(o.output).load(0, Split::train).target.tokens, expected);
  }
  o.corpus = file("corpus.toml", "[[pair]]\nsource='eng'\ntarget='deu'\ntrain='latin1.tsv'\n");
  EXPECT_TRUE(error().ends_with("give encoding = \"ISO-8859-1\" in the corpus file")) << error();
  o.encoding = "UTF-16";
  EXPECT_TRUE(has(error(ErrorCode::usage), "--corpus stands alone"));
}

TEST_F(Build, DropsLinesOfInvisibleCharactersAsEmpty) {
  o.files = {file("a.tsv", pairs(20) + "\u00AD\tdie Zahl\nthe number\t\u200B\u2060\n")};
  run_build(o);
  EXPECT_EQ(count(Dataset(o.output), "dropped_empty"), 2);
}

TEST_F(Build, CountsTokensThatTheVocabularyLacks) {
  const auto words = [&] {
    testing::internal::CaptureStderr();
    run_build(o);
    return testing::internal::GetCapturedStderr();
  };
  o.files = {file("a.tsv", pairs(40))};
  o.training.vocab_size = 60;
  o.training.byte_fallback = false;
  const std::string known = words();
  EXPECT_FALSE(has(known, "<unk>")) << known;
  o.vocabulary_from = o.output;
  o.output = dir / "b.h5";
  o.files = {file("b.tsv", pairs(40) + "garden\u4e2d garden\tbridge \u6587 bridge\n")};
  const std::string unknown = words();
  const Dataset d(o.output);
  const auto n = d.parts()[0].n_source_tokens[0] + d.parts()[0].n_target_tokens[0];
  EXPECT_TRUE(has(unknown, fmt::format("2 of {} tokens", n))) << unknown;
  o.vocabulary_from.clear();
  o.training.byte_fallback = true;
  o.training.vocab_size = 320;
  o.force = true;
  EXPECT_FALSE(has(words(), "<unk>"));
}

TEST_F(Build, StrictStopsAtTheFirstBadLine) {
  o.strict = true;
  o.files = {file("a.tsv", "one\teins\ntwo\n")};
  EXPECT_TRUE(has(error(), "a.tsv: line 2: 1 columns")) << error();
  o.files = {file("b.tsv",
                  "one\teins\ntwo\tzwei\nthree\tdr\xFF"
                  "ei\nfour\tvier\n")};
  EXPECT_TRUE(has(error(), "b.tsv: line 3: broken UTF-8")) << error();
  o.files = {file("c.tsv", "one\teins\n" + std::string(1 << 21, 'x') + "\n")};
  EXPECT_TRUE(has(error(), "c.tsv: line 2: longer")) << error();
  o.strict = false;
  run_build(o);
  EXPECT_EQ(count(Dataset(o.output), "dropped_too_long"), 1);
}

TEST_F(Build, RefusesWrongUse) {
  const auto usage = [&] { return error(ErrorCode::usage); };
  const std::string a = file("a.tsv", "one\teins\n");
  EXPECT_TRUE(has(usage(), "no input files"));
  o.files = {a};
  for (const char* pair : {"eng", "eng-", "eng-deu-fra", "eng-eng", "e/g-deu", "../x-deu"}) {
    o.pair = pair;
    EXPECT_TRUE(has(usage(), "--pair")) << pair;
  }
  o.pair.clear();
  EXPECT_TRUE(has(usage(), "--pair XX-YY or --mono XX"));
  o.pair = "eng-deu";
  o.aligned = true;
  EXPECT_TRUE(has(usage(), "odd number"));
  o.aligned = false;
  for (const char* columns : {"1", "1,1", "0,1", "a,b", "1,2,3", "1,"}) {
    o.columns = columns;
    EXPECT_TRUE(has(usage(), "--columns")) << columns;
  }
  o.columns.clear();
  o.corpus = a;
  EXPECT_TRUE(has(usage(), "--corpus stands alone"));
  o.corpus.clear();
  o.files = {a, a};
  EXPECT_TRUE(has(error(), "twice"));
  o.files = {a};
  write_file(o.output, "precious");
  EXPECT_TRUE(has(usage(), "--force"));
  EXPECT_EQ(test::read_file(o.output), "precious");
}

TEST_F(Build, CorpusFileFaultsNameTheLine) {
  o.pair.clear();
  file("a.tsv", "one\teins\n");
  const std::pair<const char*, const char*> kFaults[] = {
      {"", "neither"},
      {"[[pair]\n", "line 1"},
      {"\n[[pair]]\nsource='eng'\ntarget='deu'\ntrain='a.tsv'\nlicense='x'\n", "line 6: 'license' is no key"},
      {"[[pair]]\nsource='eng'\ntrain='a.tsv'\n", "lacks 'target'"},
      {"[[pair]]\nsource='eng'\ntarget='d-e'\ntrain='a.tsv'\n", "line 3"},
      {"[[pair]]\nsource='eng'\ntarget='eng'\ntrain='a.tsv'\n", "both eng"},
      {"[[pair]]\nsource='eng'\ntarget='deu'\n", "no files"},
      {"[[pair]]\nsource='eng'\ntarget='deu'\ntrain=3\n", "line 4"},
      {"[[pair]]\nsource='eng'\ntarget='deu'\ntrain='b.tsv'\n", "b.tsv"},
      {"[[pair]]\nsource='eng'\ntarget='deu'\ntrain='a.tsv'\nweight=-1\n", "weight"},
      {"[[pair]]\nsource='eng'\ntarget='deu'\ntrain='a.tsv'\ncolumns=[0,1]\n", "columns"},
      {"[[pair]]\nsource='eng'\ntarget='deu'\ntrain=[['a.tsv']]\n", "[source, target]"},
      {"[[mono]]\nlanguage='eng'\ntrain=[['a.tsv','a.tsv']]\n", "[source, target]"},
      {"[[mono]]\nlanguage='eng'\ntrain='a.tsv'\n[scripts]\ndeu=['Latn']\n", "no language of this corpus"},
      {"[pair]\nsource='eng'\n", "[[pair]]"}};
  for (const auto& [text, expected] : kFaults) {
    o.corpus = file("corpus.toml", text);
    EXPECT_TRUE(has(error(), expected)) << text << error();
  }
  o.corpus = dir / "absent.toml";
  EXPECT_TRUE(has(error(), "absent.toml"));
}

TEST_F(Build, CorpusFileExpandsTargets) {
  const auto path =
      file("corpus.toml",
           "licence='L'\n[[pair]]\nsource='eng'\ntarget=['deu','fra']\ntrain=['x.{target}', "
           "['{source}.a','{target}.a']]\n[[pair]]\nsource='eng'\ntarget='deu'\ndev='/abs'\nlicence='M'\n");
  const Corpus corpus = parse_corpus_file(path);
  ASSERT_EQ(corpus.parts.size(), 2u);
  ASSERT_EQ(corpus.entries.size(), 3u);
  EXPECT_EQ(corpus.entries[1].files[0],
            (std::vector<FileSet>{{dir / "x.fra"}, {dir / "eng.a", dir / "fra.a"}}));
  EXPECT_EQ(corpus.entries[2].part, 0u);
  EXPECT_EQ(corpus.entries[2].files[1][0][0], "/abs");
  EXPECT_TRUE(corpus.has_given_splits);
  EXPECT_EQ(corpus.languages(), (std::vector<std::string>{"eng", "deu", "fra"}));
  EXPECT_EQ(describe_sources(corpus), (std::vector<std::string>{"L: eng-deu, eng-fra", "M: eng-deu"}));
}

TEST_F(Build, KilledRunLeavesNothing) {
  o.files = {file("a.tsv", pairs(30000))};
  const pid_t child = fork();
  if (child == 0) {
    alarm(0);
    ::signal(SIGALRM, SIG_DFL);
    ualarm(60000, 0);  // in the middle of the work
    run_build(o);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_FALSE(std::filesystem::exists(o.output));
  o.files = {file("b.tsv", pairs(30))};
  run_build(o);
  std::set<std::string> names;
  for (const auto& e : std::filesystem::directory_iterator(dir.path())) names.insert(e.path().filename());
  EXPECT_EQ(names, (std::set<std::string>{"a.tsv", "b.tsv", "out.h5"}));
}

}  // namespace
}  // namespace moe::prep

#include "libmoe/text/vocabulary.h"

#include <gtest/gtest.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <fstream>
#include <map>

#include "libmoe/base/error.h"
#include "libmoe/text/vocabulary_trainer.h"
#include "tests/support/files.h"
#include "tests/support/shared_data.h"

namespace moe {
namespace {

/// Sentences over a small made-up lexicon.
std::function<bool(std::string&)> made_up_sentences(int n) {
  return [n, i = 0](std::string& sentence) mutable {
    static const char* kWords[] = {"river",   "stone", "walks", "under", "seven",
                                   "bridges", "Bäume", "мост",  "石"};
    if (i == n) return false;
    sentence.clear();
    for (int w = 0; w < 4; ++w) {
      sentence += w == 0 ? "" : " ";
      sentence += kWords[(i * 7 + w * w + i / 9) % 9];
    }
    ++i;
    return true;
  };
}

const std::string& small_model(const std::string& type) {
  static std::map<std::string, std::string> models;
  std::string& model = models[type];
  if (model.empty()) {
    VocabularyTraining options;
    options.vocab_size = 330;
    options.model_type = type;
    model = train_vocabulary(options, made_up_sentences(400), false);
  }
  return model;
}

class SmallModel : public testing::TestWithParam<const char*> {};

TEST_P(SmallModel, TextNeverBecomesAControlSymbol) {
  const Vocabulary v(small_model(GetParam()), {"eng", "deu"});
  EXPECT_EQ(v.size(), v.n_pieces() + 4);
  EXPECT_EQ(v.piece(v.language_id(1)), "<2deu>");
  EXPECT_EQ(v.language_index("deu"), 1);
  EXPECT_EQ(v.language_index("fra"), -1);
  for (const std::string& text :
       {std::string("<2deu> river"), std::string("<s> </s> <unk> <mask> <denoise>"), std::string("a\0b", 3),
        std::string("tab\there"), std::string("\xF0\x9F\xA6\x80 \xD7\xA9\xD7\x9C\xD7\x95\xD7\x9D"),
        std::string("<0x41><2eng>")}) {
    const auto ids = v.encode(text);
    for (const std::int32_t id : ids) {
      EXPECT_LT(id, v.n_pieces());
      EXPECT_NE(id, v.begin_id());
      EXPECT_NE(id, v.end_id());
      EXPECT_NE(id, v.unknown_id()) << text;  // bytes stand in for unknown characters
    }
  }
  EXPECT_EQ(v.decode(v.encode("<2deu> <s> <mask> river </s>")), "<2deu> <s> <mask> river </s>");
}

TEST_P(SmallModel, DecodesWhatItEncodes) {
  const Vocabulary v(small_model(GetParam()), {"eng"});
  for (const char* text : {"seven bridges", "мост under 石", "\xF0\x9F\xA6\x80 never seen: ẞ", "x"}) {
    auto ids = v.encode(text);
    EXPECT_FALSE(ids.empty());
    EXPECT_TRUE(v.begins_word(ids[0]));
    EXPECT_EQ(v.decode(ids), text);
    ids.insert(ids.begin(), v.language_id(0));
    ids.push_back(v.end_id());
    EXPECT_EQ(v.decode(ids), text) << "control symbols are skipped";
  }
}

TEST_P(SmallModel, TrainingRepeatsAndTellsProgress) {
  VocabularyTraining options;
  options.vocab_size = 330;
  options.model_type = GetParam();
  double last = 0;
  const auto on_progress = [&](double share) {
    EXPECT_GE(share, last);
    EXPECT_LE(share, 1);
    last = share;
  };
  EXPECT_EQ(train_vocabulary(options, made_up_sentences(400), false, on_progress), small_model(GetParam()));
  EXPECT_EQ(last, 1);
}

INSTANTIATE_TEST_SUITE_P(Types, SmallModel, testing::Values("unigram", "bpe"));

TEST(Vocabulary, RefusesWhatIsNoModel) {
  for (const std::string& bytes :
       {std::string(), std::string("no model"), std::string(1000, '\xff'), small_model("bpe").substr(0, 900)})
    EXPECT_THROW(Vocabulary(bytes, {"eng"}), Error);
  EXPECT_THROW(Vocabulary(small_model("bpe"), {"eng", "eng"}), Error);
  EXPECT_THROW(Vocabulary(small_model("bpe"), {"e-n"}), Error);
}

TEST(Vocabulary, SameAsComparesModelAndLanguages) {
  const Vocabulary a(small_model("bpe"), {"eng", "deu"}), b(small_model("bpe"), {"eng", "deu"});
  EXPECT_TRUE(a.same_as(b));
  EXPECT_FALSE(a.same_as(Vocabulary(small_model("bpe"), {"deu", "eng"})));
  EXPECT_FALSE(a.same_as(Vocabulary(small_model("unigram"), {"eng", "deu"})));
}

TEST(VocabularyTrainer, SaysWhatIsWrong) {
  VocabularyTraining options;
  options.vocab_size = 40;  // fewer than the bytes
  try {
    train_vocabulary(options, made_up_sentences(50), false);
    FAIL() << "a vocabulary too small for the bytes";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::failed);
    EXPECT_NE(std::string(e.what()).find("vocab"), std::string::npos) << e.what();
  }
  options.vocab_size = 1000;
  EXPECT_THROW(train_vocabulary(
                   options, [](std::string&) { return false; }, false),
               Error);
}

std::string training_fault(const VocabularyTraining& options) {
  try {
    train_vocabulary(options, made_up_sentences(50), false);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(VocabularyTrainer, NamesTheSizeThatIsNeeded) {
  VocabularyTraining options;
  for (const char* type : {"unigram", "bpe"}) {
    options.model_type = type;
    options.vocab_size = 40;
    const std::string message = training_fault(options), before = "give --vocab-size ";
    const auto at = message.find(before);
    ASSERT_NE(at, std::string::npos) << message;
    EXPECT_TRUE(message.ends_with(" or more, or lower --character-coverage")) << message;
    const int least = std::stoi(message.substr(at + before.size()));
    EXPECT_GT(least, 256);
    options.vocab_size = least - 1;
    EXPECT_TRUE(training_fault(options).ends_with(message.substr(at))) << training_fault(options);
    options.vocab_size = least;
    EXPECT_EQ(training_fault(options), "");
  }
  options.vocab_size = 40;
  options.character_coverage = kLeastCoverage;
  EXPECT_TRUE(training_fault(options).ends_with(" or more"));
  options.vocab_size = 400;
  EXPECT_EQ(training_fault(options), "");
  options.character_coverage = kLeastCoverage - 0.001;
  EXPECT_NE(training_fault(options).find("coverage"), std::string::npos) << "kLeastCoverage is the trainer's";
  EXPECT_EQ(training_fault(options).find("--vocab-size"), std::string::npos) << training_fault(options);
}

/// A model trained as others train theirs.
std::string foreign_model(const std::string& key, const std::string& symbols) {
  class Iterator : public sentencepiece::SentenceIterator {
   public:
    bool done() const override { return done_; }
    void Next() override { done_ = !next_(sentence_); }
    const std::string& value() const override { return sentence_; }
    sentencepiece::util::Status status() const override { return {}; }

   private:
    std::function<bool(std::string&)> next_ = made_up_sentences(200);
    std::string sentence_ = "first";
    bool done_ = false;
  } iterator;
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(
      std::unordered_map<std::string, std::string>{
          {"vocab_size", "60"}, {"hard_vocab_limit", "false"}, {"minloglevel", "2"}, {key, symbols}},
      &iterator, &model);
  EXPECT_TRUE(status.ok()) << status.ToString();
  return model;
}

// Symbols that a given model matches in text are text: the vocabulary's own symbols come after all of its
// pieces.
TEST(Vocabulary, SymbolsOfAGivenModelAreNotOurs) {
  const Vocabulary v(foreign_model("user_defined_symbols", "<2deu>,<mask>"), {"deu"});
  const auto ids = v.encode("stone <2deu> <mask>");
  EXPECT_EQ(std::count_if(ids.begin(), ids.end(), [&](auto id) { return v.piece(id) == "<2deu>"; }), 1);
  for (const std::int32_t id : ids) EXPECT_LT(id, v.n_pieces());
  EXPECT_EQ(v.decode(ids), "stone <2deu> <mask>");
  const Vocabulary controls(foreign_model("control_symbols", "<2deu>"), {"deu"});
  for (const std::int32_t id : controls.encode("stone <2deu> <s>")) EXPECT_NE(controls.piece(id), "<2deu>");
}

// T5's models have none.
TEST(Vocabulary, AddsTheBeginningThatAGivenModelLacks) {
  const Vocabulary with(foreign_model("pad_id", "-1"), {"eng", "deu"});
  const Vocabulary without(foreign_model("bos_id", "-1"), {"eng", "deu"});
  EXPECT_LT(with.begin_id(), with.n_pieces());
  EXPECT_EQ(with.size(), with.n_pieces() + 4);
  EXPECT_EQ(without.begin_id(), without.n_pieces() + 2);
  EXPECT_EQ(without.size(), without.n_pieces() + 5);
  const std::string symbols[] = {"<mask>", "<denoise>", "<s>", "<2eng>", "<2deu>"};
  for (std::int32_t i = 0; i < 5; ++i) EXPECT_EQ(without.piece(without.n_pieces() + i), symbols[i]);
  EXPECT_EQ(without.language_id(1), without.n_pieces() + 4);
  const auto ids = without.encode("<s> stone </s>");
  EXPECT_EQ(std::count(ids.begin(), ids.end(), without.begin_id()), 0);
  EXPECT_EQ(without.decode({without.begin_id(), without.language_id(0), without.end_id()}), "");
}

TEST(Vocabulary, RefusesAModelWhoseTextMakesControlSymbols) {
  EXPECT_THROW(Vocabulary(foreign_model("user_defined_symbols", "<s>"), {"deu"}), Error);
  EXPECT_THROW(Vocabulary(foreign_model("eos_id", "-1"), {"deu"}), Error);
}

struct Golden {
  const char *model, *text, *ids;
};
void PrintTo(const Golden& g, std::ostream* out) {
  *out << g.ids;
}

class SpmGolden : public testing::TestWithParam<Golden> {};

TEST_P(SpmGolden, EncodesAsSpmEncodeDoes) {
  const std::string folder = test::shared_data("spm-golden");
  if (folder.empty()) GTEST_SKIP() << "no shared data: set MOE_SHARED_DATA";
  const Vocabulary v(test::read_file(folder + "/" + GetParam().model), {"eng"});
  std::ifstream text(folder + "/" + GetParam().text), ids(folder + "/" + GetParam().ids);
  std::string line, expected;
  int n_lines = 0;
  while (std::getline(ids, expected)) {
    ASSERT_TRUE(std::getline(text, line));
    ++n_lines;
    ASSERT_EQ(fmt::format("{}", fmt::join(v.encode(line), " ")), expected) << "line " << n_lines;
  }
  EXPECT_GT(n_lines, 1000);
  EXPECT_FALSE(std::getline(text, line));
}

INSTANTIATE_TEST_SUITE_P(
    Models, SpmGolden,
    testing::Values(Golden{"multi_unigram.model", "probe.txt", "probe.multi_unigram.ids"},
                    Golden{"multi_bpe.model", "probe.txt", "probe.multi_bpe.ids"},
                    Golden{"multi_unigram_bf.model", "probe.txt", "probe.multi_unigram_bf.ids"},
                    Golden{"test_model.model", "probe.txt", "probe.test_model.ids"},
                    Golden{"test_model.model", "botchan.txt", "botchan.test_model.ids"},
                    Golden{"botchan_uni1k.model", "botchan.txt", "botchan.botchan_uni1k.ids"},
                    Golden{"botchan_bpe1k.model", "botchan.txt", "botchan.botchan_bpe1k.ids"}),
    [](const auto& golden) {
      std::string name = golden.param.ids;
      std::replace(name.begin(), name.end(), '.', '_');
      return name;
    });

}  // namespace
}  // namespace moe

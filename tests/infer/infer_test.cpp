#include "libmoe/infer/infer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>

#include "libmoe/base/error.h"
#include "libmoe/infer/loaded_model.h"
#include "libmoe/model/stored_model.h"
#include "libmoe/text/vocabulary_trainer.h"
#include "tests/infer/failing_reads.h"
#include "tests/support/small_vocabulary.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_checkpoint.h"

namespace moe {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

class Infer : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new test::TempDir;
    Checkpoint checkpoint = test::tiny_checkpoint(test::translation_config());
    save_checkpoint(model(), checkpoint, {}, false);
    save_store(store(), checkpoint, model(), {}, false);
    checkpoint.config.architecture = Architecture::decoder_only;
    checkpoint = test::tiny_checkpoint(checkpoint.config);
    save_checkpoint(*folder_ / "lm.h5", checkpoint, {}, false);
  }
  static void TearDownTestSuite() { delete folder_; }
  static std::string model() { return *folder_ / "model.h5"; }
  static std::string store() { return *folder_ / "store.h5"; }

  static std::string write(const std::string& text) {
    const std::string path = *folder_ / "input.txt";
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  static infer::InferOptions options(const std::string& text) {
    infer::InferOptions o;
    o.model = model();
    o.input = write(text);
    o.target = "deu";
    o.search.beam_size = 2;
    o.search.max_length = 12;
    o.threads = 1;
    return o;
  }
  static std::string output(const infer::InferOptions& o) {
    testing::internal::CaptureStdout();
    infer::run(o);
    return testing::internal::GetCapturedStdout();
  }
  /// output: what must have been written before.
  static std::string fault(const infer::InferOptions& o, ErrorCode code, const std::string& output = "") {
    testing::internal::CaptureStdout();
    std::string message;
    try {
      infer::run(o);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), code) << e.what();
      message = e.what();
    }
    EXPECT_EQ(testing::internal::GetCapturedStdout(), output);
    return message;
  }
  static std::string sample(int n) {
    std::string text;
    for (int i = 0; i < n; ++i)
      text += i % 6 == 3 ? "\n"
                         : test::small_sentence(i) + std::string(static_cast<std::size_t>(i % 4), 'x') + "\n";
    return text;
  }

 private:
  static test::TempDir* folder_;
};
test::TempDir* Infer::folder_ = nullptr;

TEST_F(Infer, KeepsOrderAndEmptyLinesWhateverTheWindow) {
  infer::InferOptions o = options(sample(31));
  const std::string expected = output(o);
  const auto lines = lines_of(expected);
  ASSERT_EQ(lines.size(), 31u);
  for (std::size_t i = 0; i < lines.size(); ++i) EXPECT_TRUE(i % 6 != 3 || lines[i].empty()) << i;
  o.window = 5;
  EXPECT_EQ(output(o), expected);
  o.search.batch_tokens = 1;
  o.flush = true;
  EXPECT_EQ(output(o), expected);
  std::vector<std::string> distinct(lines);
  std::sort(distinct.begin(), distinct.end());
  EXPECT_GT(std::unique(distinct.begin(), distinct.end()) - distinct.begin(), 8);
}

TEST_F(Infer, AStoreGivesTheSameTextAndScoresWithAnyMemory) {
  infer::InferOptions o = options(sample(12));
  o.search.n_best = 2;
  o.scores = true;
  const std::string expected = output(o);
  o.model = store();
  EXPECT_EQ(output(o), expected);
  const std::int64_t all = load_store(store()).experts.total_bytes();
  for (const std::int64_t bytes : {all * 2 / 5, all / 2, all * 4 / 5, all, 2 * all}) {
    o.host_memory.value = bytes;
    EXPECT_EQ(output(o), expected) << bytes << " of " << all;
  }
}

TEST_F(Infer, ProductsOfBf16MoveTheFirstScoreALittleWhateverTheBatch) {
  infer::InferOptions o = options(sample(12));
  o.search.beam_size = 1;
  o.scores = true;
  o.arithmetic.products = Products::f32;
  const std::vector<std::string> fp32 = lines_of(output(o));
  o.arithmetic.products = Products::bf16;
  const std::string together = output(o);
  const std::vector<std::string> bf16 = lines_of(together);
  ASSERT_EQ(bf16.size(), fp32.size());
  int scored = 0, moved = 0, moved_far = 0;
  for (std::size_t i = 0; i < fp32.size(); ++i) {
    if (fp32[i].empty() || fp32[i].back() == '\t' || bf16[i].back() == '\t') continue;
    // Of the first token: what comes later may be another text.
    const auto score = [](const std::string& line) { return std::stod(line.substr(line.rfind('\t') + 1)); };
    const double difference = std::fabs(score(bf16[i]) - score(fp32[i]));
    ++scored;
    moved += difference > 0 ? 1 : 0;
    moved_far += difference > 0.1 ? 1 : 0;  // rounding may change the expert of a token
  }
  EXPECT_GT(scored, 5);
  EXPECT_EQ(moved, scored);
  EXPECT_LT(2 * moved_far, scored);
  o.search.batch_tokens = 1;
  o.flush = true;
  EXPECT_EQ(output(o), together);
}

TEST_F(Infer, ThreadsDoNotChangeTheText) {
  infer::InferOptions o = options(sample(5));
  const std::string expected = output(o);
  o.threads = 2;
  EXPECT_EQ(output(o), expected);
}

TEST_F(Infer, WritesNBestAndScores) {
  infer::InferOptions o = options("seven old bridge\n\n");
  const std::string best = lines_of(output(o)).at(0);
  o.scores = true;
  const std::string scored = lines_of(output(o)).at(0);
  EXPECT_EQ(scored.substr(0, scored.find('\t')), best);
  o.search.n_best = 2;
  const auto lines = lines_of(output(o));
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_TRUE(lines[0].starts_with("0 ||| " + best + " ||| logp= -")) << lines[0];
  EXPECT_TRUE(lines[1].starts_with("0 ||| "));
  EXPECT_EQ(lines[2].substr(0, 8), "1 |||  |");
  // logp / length = the total, and the tokens add up to logp.
  std::istringstream fields(lines[0].substr(lines[0].find("logp=")));
  std::string word;
  double log_prob = 0, length = 0, total = 0, sum = 0;
  fields >> word >> log_prob >> word >> length >> word;
  for (int i = 0; i < static_cast<int>(length); ++i) {
    double token = 0;
    fields >> token;
    sum += token;
  }
  fields >> word >> total;
  EXPECT_EQ(word, "|||");
  EXPECT_NEAR(sum, log_prob, 1e-4);
  EXPECT_NEAR(total, log_prob / length, 1e-4);
  EXPECT_NE(scored.find(fmt::format("\t{:.6f}\t", total)), std::string::npos) << scored;
}

TEST_F(Infer, TakesTheTargetFromTheLine) {
  infer::InferOptions o = options("old bridge sings\n");
  const std::string german = output(o);
  o.target = "eng";
  const std::string english = output(o);
  o.input = write("old\n");
  const std::string english_old = output(o);
  o.target.clear();
  o.target_from_line = true;
  o.input = write("eng\told bridge sings\n\ndeu\told bridge sings\r\ndeu\t\n");
  EXPECT_EQ(output(o), english + "\n" + german + "\n");
  o.input = write("eng\told\nxyz\tbridge\n");
  std::string message = fault(o, ErrorCode::bad_input, english_old);
  EXPECT_NE(message.find("line 2"), std::string::npos) << message;
  EXPECT_NE(message.find("eng, deu"), std::string::npos) << message;
  o.input = write("old bridge\n");
  EXPECT_NE(fault(o, ErrorCode::bad_input).find("line 1: no tab"), std::string::npos);
}

TEST_F(Infer, CutsLongLinesOrRefusesThem) {
  std::string longer;
  for (int i = 0; i < 60; ++i) longer += "garden ";
  infer::InferOptions o = options("seven\n" + longer + "\n");
  const std::string both = output(o), first = lines_of(both).at(0) + "\n";
  EXPECT_EQ(lines_of(both).size(), 2u);
  o.strict = true;
  EXPECT_NE(fault(o, ErrorCode::bad_input, first).find("line 2"), std::string::npos);
}

TEST_F(Infer, WritesTheLinesBeforeAnErrorOfTheInput) {
  infer::InferOptions o = options(sample(7));
  const std::string seven = output(o);
  o.target.clear();
  o.target_from_line = true;
  std::string text;
  std::istringstream lines(sample(7));
  for (std::string line; std::getline(lines, line);) text += "deu\t" + line + "\n";
  o.input = write(text + "no tab\n" + text);
  for (const std::int64_t window : {1, 3, 7, 2000}) {
    o.window = window;
    EXPECT_NE(fault(o, ErrorCode::bad_input, seven).find("line 8: no tab"), std::string::npos) << window;
  }
  // A damaged file is an error of no line: it is never skipped.
  o.input = write("deu\told\n" + std::string(1 << 18, 'x'));
  const std::string file = o.input + ".gz";
  ASSERT_EQ(std::system(("gzip -c " + o.input + " | head -c -9 >" + file).c_str()), 0);
  o.input = file;
  const std::string old = output(options("old\n"));
  for (const char* way : {"stop", "skip"}) {
    o.on_error = way;
    o.input = file;
    EXPECT_NE(fault(o, ErrorCode::bad_input, old).find("gzip"), std::string::npos) << way;
  }
}

TEST_F(Infer, SkipsLinesThatAreErrorsWhenAsked) {
  infer::InferOptions o = options("old bridge\n");
  const std::string good = output(o);
  o.target.clear();
  o.target_from_line = true;
  o.on_error = "skip";
  o.input = write("deu\told bridge\nxyz\told bridge\ndeu\told bridge\nold bridge\n\n");
  testing::internal::CaptureStderr();
  const std::string message = fault(o, ErrorCode::bad_input, good + "\n" + good + "\n\n");
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(message.starts_with("2 of 5 lines ")) << message;
  EXPECT_NE(log.find(", line 2: the model has no language 'xyz'"), std::string::npos) << log;
  EXPECT_NE(log.find(", line 4: no tab"), std::string::npos) << log;
  o.input = write("deu\told bridge\n");
  EXPECT_EQ(output(o), good);

  std::string longer;
  for (int i = 0; i < 60; ++i) longer += "garden ";
  o = options(longer + "\nold bridge\n");
  o.on_error = "skip";
  o.strict = true;
  o.search.n_best = 2;
  testing::internal::CaptureStderr();
  testing::internal::CaptureStdout();
  EXPECT_THROW(infer::run(o), Error);
  const auto lines = lines_of(testing::internal::GetCapturedStdout());
  EXPECT_NE(testing::internal::GetCapturedStderr().find(", line 1: "), std::string::npos);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_TRUE(lines[0].starts_with("0 |||  |||")) << lines[0];
  EXPECT_TRUE(lines[1].starts_with("1 ||| " + good.substr(0, good.size() - 1))) << lines[1];
}

TEST_F(Infer, TakesBrokenTextAsItComes) {
  constexpr char kText[] = "old\xff\xfe bridge\0 x\n\x01\n\xe0\xa0\r\n<2eng> <s> </s>\nno line end";
  const std::string empty(40, '\n');  // lines of which two are a twentieth
  infer::InferOptions o = options(empty + std::string(kText, sizeof kText - 1));
  testing::internal::CaptureStderr();
  EXPECT_EQ(lines_of(output(o)).size(), 45u);
  const std::string words = testing::internal::GetCapturedStderr();
  EXPECT_NE(words.find("2 lines had broken UTF-8"), std::string::npos) << words;
  o.input = write("");
  EXPECT_EQ(output(o), "");
}

TEST_F(Infer, RefusesOtherKindsOfFilesAndReadsOtherEncodings) {
  infer::InferOptions o = options("gr\u00fcn bridge\nold gr\u00fcn\n");
  const std::string expected = output(o);
  o.input = write("gr\xfcn bridge\nold gr\xfcn\n");
  EXPECT_NE(fault(o, ErrorCode::bad_input).find("give --encoding "), std::string::npos);
  o.encoding = "ISO-8859-1";
  EXPECT_EQ(output(o), expected);
  o.encoding = kUtf8;
  o.input = model();
  EXPECT_NE(fault(o, ErrorCode::bad_input).find("is an HDF5 file, not text"), std::string::npos);
}

TEST_F(Infer, LeavesInvisibleLinesEmpty) {
  infer::InferOptions o = options("\u00AD\n\u200B \u2060\n");
  EXPECT_EQ(output(o), "\n\n");
  o.target.clear();
  o.target_from_line = true;
  o.input = write("deu\t\u00AD\n\u00AD\n");
  EXPECT_EQ(output(o), "\n\n");
}

// Files that were joined have one at the beginning of later lines too.
TEST_F(Infer, LeavesOutByteOrderMarks) {
  infer::InferOptions o = options("");
  o.target.clear();
  o.target_from_line = true;
  o.input = write("deu\told bridge\ndeu\told bridge\n");
  const std::string expected = output(o);
  o.input = write(
      "\uFEFF"
      "deu\told bridge\n\uFEFF"
      "deu\told bridge\n");
  EXPECT_EQ(output(o), expected);
}

TEST_F(Infer, CountsTokensThatTheVocabularyLacks) {
  infer::InferOptions o = options("old bridge \u4e2d\n");
  const auto words = [&] {
    testing::internal::CaptureStderr();
    output(o);
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(words().find("<unk>"), std::string::npos) << "bytes stand in";
  VocabularyTraining training;
  training.vocab_size = 60;
  training.byte_fallback = false;
  int i = 0;
  const auto next = [&](std::string& sentence) {
    sentence = test::small_sentence(i);
    return i++ < 200;
  };
  const auto vocabulary = std::make_shared<const Vocabulary>(train_vocabulary(training, next, false),
                                                             std::vector<std::string>{"eng", "deu"});
  ModelConfig config = test::translation_config();
  config.vocab_size = vocabulary->size();
  Checkpoint checkpoint = test::tiny_checkpoint(config);
  checkpoint.vocabulary = vocabulary;
  o.model = std::filesystem::path(model()).replace_filename("unk.h5").string();
  save_checkpoint(o.model, checkpoint, {}, false);
  const auto tokens = vocabulary->encode("old bridge \u4e2d").size();
  EXPECT_NE(words().find(fmt::format("1 of {} source tokens", tokens)), std::string::npos) << words();
}

TEST_F(Infer, ContinuesPrompts) {
  infer::InferOptions o = options("old bridge\nseven\n");
  o.model = std::filesystem::path(model()).replace_filename("lm.h5").string();
  const auto lines = lines_of(output(o));
  ASSERT_EQ(lines.size(), 2u);
  o.flush = true;
  EXPECT_EQ(lines_of(output(o)), lines);
}

TEST_F(Infer, NamesWhatIsWrong) {
  infer::InferOptions o = options("old bridge\n");
  o.target = "xyz";
  EXPECT_NE(fault(o, ErrorCode::bad_input).find("eng, deu"), std::string::npos);
  o.target.clear();
  EXPECT_NE(fault(o, ErrorCode::usage).find("--target"), std::string::npos);
  o = options("old bridge\n");
  o.host_memory.value = 1 << 20;
  EXPECT_NE(fault(o, ErrorCode::usage).find("moe-shard split"), std::string::npos);
  o.model = store();
  o.host_memory.value = 1;
  EXPECT_NE(fault(o, ErrorCode::usage).find("--host-memory"), std::string::npos);
  o.host_memory.value = 0;
  for (const std::string& bad :
       {o.input, model() + ".absent", std::filesystem::path(model()).parent_path().string()}) {
    o.model = bad;
    EXPECT_NE(fault(o, ErrorCode::bad_input).find(bad), std::string::npos);
  }
  o = options("x");
  o.input = model() + ".absent";
  fault(o, ErrorCode::bad_input);
}

TEST_F(Infer, NamesAnExpertThatWasAltered) {
  const std::string copy = std::filesystem::path(store()).replace_filename("altered.h5").string();
  std::filesystem::copy_file(store(), copy);
  const ExpertFile experts = load_store(copy).experts;
  std::fstream file(copy, std::ios::in | std::ios::out | std::ios::binary);
  for (std::int64_t e = 0; e < experts.sections[2].n_experts; ++e) {
    file.seekp(experts.sections[2].extent.offset + e * experts.layout.stride_bytes() + 40);
    file.put(0x55);
  }
  file.close();
  infer::InferOptions o = options("old bridge\n");
  o.model = copy;
  for (const std::int64_t bytes : {std::int64_t{0}, experts.total_bytes() / 2}) {
    o.host_memory.value = bytes;
    const std::string message = fault(o, ErrorCode::bad_input);
    EXPECT_NE(message.find(copy + ": MoE layer 2, expert"), std::string::npos) << message;
  }
}

// The disk fails under some experts: the run ends, and says of which file, and what the system said.
TEST_F(Infer, AFailingReadOfAnExpertIsTold) {
  const ExpertFile experts = load_store(store()).experts;
  infer::InferOptions o = options("old bridge\nblue river\nold bridge\n");
  o.model = store();
  for (const std::size_t layer : {std::size_t{1}, std::size_t{3}})
    for (const std::int64_t bytes : {std::int64_t{0}, experts.total_bytes() / 2}) {
      o.host_memory.value = bytes;
      const h5::Extent extent = experts.sections[layer].extent;
      const test::FailingReads failing(extent.offset, extent.offset + extent.bytes);
      const std::string message = fault(o, ErrorCode::failed);
      EXPECT_NE(message.find(fmt::format("{}: reading MoE layer {}, expert ", store(), layer)),
                std::string::npos)
          << message;
      EXPECT_NE(message.find(std::strerror(EIO)), std::string::npos) << message;
      EXPECT_GT(failing.n_failed(), 0);
    }
  EXPECT_FALSE(output(o).empty());  // a disk that works again
}

// Of the first token; what comes later may be another text.
double first_score(const std::string& line) {
  return std::stod(line.substr(line.rfind('\t') + 1));
}

TEST_F(Infer, HeldWeightsMoveTheFirstScoreALittleWhateverTheBatch) {
  infer::InferOptions o = options(sample(12));
  o.search.beam_size = 1;
  o.scores = true;
  o.arithmetic.products = Products::f32;
  const std::vector<std::string> fp32 = lines_of(output(o));
  const std::map<WeightType, double> far{
      {WeightType::bf16, 0.1}, {WeightType::int8, 0.1}, {WeightType::int4, 1.0}};
  for (const auto& [type, limit] : far) {
    o.arithmetic.weights = type;
    o.expert_weights = ExpertWeightType::same;
    o.search.batch_tokens = infer::InferOptions{}.search.batch_tokens;
    o.flush = false;
    const std::string together = output(o);
    const std::vector<std::string> held = lines_of(together);
    ASSERT_EQ(held.size(), fp32.size());
    int scored = 0, moved = 0, moved_far = 0;
    for (std::size_t i = 0; i < fp32.size(); ++i) {
      if (fp32[i].empty() || fp32[i].back() == '\t' || held[i].back() == '\t') continue;
      const double difference = std::fabs(first_score(held[i]) - first_score(fp32[i]));
      ++scored;
      moved += difference > 0 ? 1 : 0;
      moved_far += difference > limit ? 1 : 0;  // rounding may change the expert of a token
    }
    EXPECT_GT(scored, 5) << word_of(type);
    EXPECT_EQ(moved, scored) << word_of(type);
    EXPECT_LT(2 * moved_far, scored) << word_of(type);
    o.search.batch_tokens = 1;
    o.flush = true;
    EXPECT_EQ(output(o), together) << word_of(type);
    // Of the experts alone it is something between.
    o.arithmetic.weights = WeightType::f32;
    o.expert_weights = static_cast<ExpertWeightType>(static_cast<int>(type) + 1);
    EXPECT_NE(output(o), together) << word_of(type);
  }
}

TEST_F(Infer, TheDensePartOfAStoreIsHeldAsAsked) {
  infer::InferOptions o = options(sample(6));
  o.arithmetic.weights = WeightType::int8;
  o.expert_weights = ExpertWeightType::f32;
  o.scores = true;
  const std::string expected = output(o);
  o.model = store();
  EXPECT_EQ(output(o), expected);
}

}  // namespace
}  // namespace moe

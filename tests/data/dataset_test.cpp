#include "libmoe/data/dataset.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "libmoe/base/error.h"
#include "libmoe/data/dataset_writer.h"
#include "tests/support/small_vocabulary.h"
#include "tests/support/temp_dir.h"

namespace moe {
namespace {

Sentences encode(const Vocabulary& v, const std::vector<std::string>& texts) {
  Sentences s;
  for (const std::string& text : texts) {
    const auto ids = v.encode(text);
    s.tokens.insert(s.tokens.end(), ids.begin(), ids.end());
    s.offsets.push_back(static_cast<std::int64_t>(s.tokens.size()));
  }
  return s;
}

std::vector<std::string> sentences(int begin, int end) {
  std::vector<std::string> texts;
  for (int i = begin; i < end; ++i) texts.push_back(test::small_sentence(i));
  return texts;
}

void expect_equal(const Sentences& a, const Sentences& b) {
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.offsets, b.offsets);
}

TEST(Dataset, GivesBackWhatWasWritten) {
  const test::TempDir dir;
  const auto vocabulary = test::small_vocabulary({"eng", "deu", "fra"});
  const auto a = sentences(0, 60), b = sentences(60, 120), c = sentences(120, 125);
  {
    DatasetWriter writer(dir / "d.h5", *vocabulary, false);
    const int pair = writer.add_part(0, 1, 2.5), mono = writer.add_part(2, -1, 1);
    for (std::size_t i = 0; i < a.size(); i += 20) {  // appended in three goes
      const std::vector<std::string> s(a.begin() + static_cast<int>(i), a.begin() + static_cast<int>(i) + 20);
      const std::vector<std::string> t(b.begin() + static_cast<int>(i), b.begin() + static_cast<int>(i) + 20);
      writer.append(pair, Split::train, {encode(*vocabulary, s), encode(*vocabulary, t)}, {});
    }
    writer.append(pair, Split::test, {encode(*vocabulary, c), encode(*vocabulary, c)}, {c, c});
    writer.append(pair, Split::dev, {}, {});
    writer.finish_part(pair);
    writer.append(mono, Split::dev, {encode(*vocabulary, c), {}}, {c, {}});
    writer.set_cleaning({{"lines", "kept"}, {{70, 65}, {5, 5}}});
    writer.set_vocabulary_sample({10, 20, 30}, "made up");
    writer.add_source("CC0; nobody: eng-deu");
    writer.commit();
  }
  const Dataset d(dir / "d.h5");
  EXPECT_TRUE(d.vocabulary().same_as(*vocabulary));
  ASSERT_EQ(d.parts().size(), 2u);
  EXPECT_EQ(d.part_name(0), "eng-deu");
  EXPECT_EQ(d.part_name(1), "fra");
  EXPECT_EQ(d.parts()[0].weight, 2.5);
  EXPECT_EQ(d.parts()[0].n_sentences, (std::array<std::int64_t, 3>{60, 0, 5}));
  EXPECT_EQ(d.parts()[1].target, -1);
  expect_equal(d.load(0, Split::train).source, encode(*vocabulary, a));
  expect_equal(d.load(0, Split::train).target, encode(*vocabulary, b));
  EXPECT_EQ(d.load(0, Split::dev).source.size(), 0);
  expect_equal(d.load(1, Split::dev).source, encode(*vocabulary, c));
  EXPECT_EQ(d.load(1, Split::dev).target.size(), 0);
  EXPECT_EQ(d.load_text(0, Split::test).target, c);
  EXPECT_EQ(d.load_text(1, Split::dev).source, c);
  EXPECT_TRUE(d.load_text(1, Split::dev).target.empty());
  EXPECT_EQ(d.cleaning().counts[0], (std::vector<std::int64_t>{70, 65}));
  EXPECT_EQ(d.vocabulary_sample(), (std::vector<std::int64_t>{10, 20, 30}));
  EXPECT_EQ(d.sources(), std::vector<std::string>{"CC0; nobody: eng-deu"});
  std::int64_t n = 0, n_tokens = 0;
  const auto lengths = d.lengths(Split::train);
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    n += lengths[i];
    n_tokens += lengths[i] * static_cast<std::int64_t>(i);
  }
  EXPECT_EQ(n, 120);
  EXPECT_EQ(n_tokens, d.parts()[0].n_source_tokens[0] + d.parts()[0].n_target_tokens[0]);
}

TEST(Dataset, NothingRemainsWithoutCommit) {
  const test::TempDir dir;
  const auto vocabulary = test::small_vocabulary();
  {
    DatasetWriter writer(dir / "d.h5", *vocabulary, false);
    writer.add_part(0, 1, 1);
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

/// A dataset with one part, after `alter` wrote something else into it.
std::string message_of(const std::function<void(h5::Writer&)>& write) {
  const test::TempDir dir;
  {
    h5::Writer file(dir / "d.h5", kDatasetKind, false);
    const auto vocabulary = test::small_vocabulary();
    const std::string& model = vocabulary->model_bytes();
    file.write<std::uint8_t>("/vocabulary/model",
                             {reinterpret_cast<const std::uint8_t*>(model.data()), model.size()},
                             {static_cast<std::int64_t>(model.size())});
    file.write_text("/vocabulary/languages", "eng\ndeu\n");
    file.make_group("/parts/deu");
    file.attribute("/parts/deu", "index", std::int64_t{0});
    file.attribute("/parts/deu", "source", std::string("deu"));
    file.attribute("/parts/deu", "monolingual", std::int64_t{1});
    file.attribute("/parts/deu", "weight", 1.0);
    for (const char* split : kSplitNames)
      for (const char* count : {"_sentences", "_source_tokens", "_target_tokens"})
        file.attribute(
            "/parts/deu", std::string(split) + count,
            std::int64_t{split == std::string("dev") && count != std::string("_target_tokens") ? 2 : 0});
    write(file);
    file.commit();
  }
  try {
    const Dataset d(dir / "d.h5");
    d.load(0, Split::dev);
    d.load_text(0, Split::dev);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::bad_input);
    return e.what();
  }
  return "";
}

void write_dev(h5::Writer& file, const std::vector<std::int32_t>& lengths,
               const std::vector<std::int32_t>& tokens, const std::string& text) {
  file.append<std::int32_t>("/parts/deu/dev/source_lengths", lengths);
  file.append<std::int32_t>("/parts/deu/dev/source_tokens", tokens);
  file.append<std::uint8_t>("/parts/deu/dev/source_text",
                            {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

TEST(Dataset, RefusesWhatDoesNotFit) {
  const auto has = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
  };
  EXPECT_EQ(message_of([](h5::Writer& f) { write_dev(f, {1, 1}, {5, 6}, "a\nb\n"); }), "");
  EXPECT_TRUE(has(message_of([](h5::Writer& f) { write_dev(f, {1, 2}, {5, 6}, "a\nb\n"); }), "lengths"));
  EXPECT_TRUE(has(message_of([](h5::Writer& f) { write_dev(f, {3, -1}, {5, 6}, "a\nb\n"); }), "lengths"));
  EXPECT_TRUE(has(message_of([](h5::Writer& f) { write_dev(f, {2}, {5, 6}, "a\nb\n"); }), "lengths"));
  EXPECT_TRUE(has(message_of([](h5::Writer& f) { write_dev(f, {1, 1}, {5, 99999}, "a\nb\n"); }), "99999"));
  EXPECT_TRUE(has(message_of([](h5::Writer& f) { write_dev(f, {1, 1}, {5, -1}, "a\nb\n"); }), "-1"));
  EXPECT_TRUE(has(message_of([](h5::Writer& f) {
                    write_dev(f, {1, 1}, {5, 2}, "a\nb\n");
                  }),
                  "no text token"));
  EXPECT_TRUE(has(message_of([](h5::Writer& f) {
                    write_dev(f, {1, 1}, {5, 6}, "a\n");
                  }),
                  "1 lines instead of 2"));
  EXPECT_TRUE(has(message_of([](h5::Writer&) {}), "source_lengths"));
  EXPECT_TRUE(
      has(message_of([](h5::Writer& f) { f.attribute("/parts/deu", "source", std::string("fra")); }), "fra"));
  EXPECT_TRUE(
      has(message_of([](h5::Writer& f) { f.attribute("/parts/deu", "index", std::int64_t{1}); }), "index"));
  EXPECT_TRUE(has(message_of([](h5::Writer& f) { f.attribute("/parts/deu", "weight", -1.0); }), "weight"));
  EXPECT_TRUE(
      has(message_of([](h5::Writer& f) { f.attribute("/parts/deu", "dev_sentences", std::int64_t{-2}); }),
          "below"));
}

}  // namespace
}  // namespace moe

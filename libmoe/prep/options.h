// What moe-prep can be asked to do.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "libmoe/base/options.h"
#include "libmoe/text/encoding.h"
#include "libmoe/text/vocabulary_trainer.h"

namespace moe::prep {

struct BuildOptions {
  // input: a corpus file, or files of one kind
  std::string corpus;
  std::vector<std::string> files;
  std::string pair, mono;
  bool aligned = false;
  std::string columns, encoding = kUtf8;
  std::vector<std::string> dev, test;
  std::string licence, attribution;
  bool strict = false;
  // cleaning
  std::int64_t max_chars = 1000;  // characters of a sentence, before encoding
  std::int64_t max_length = 250;  // tokens of a sentence
  double max_ratio = 4;
  bool keep_identical = false, keep_duplicates = false, any_script = false;
  // splits, when the corpus names neither dev nor test files
  double dev_share = 0.01, test_share = 0.01;
  // vocabulary
  std::string vocabulary, vocabulary_from;
  VocabularyTraining training;
  std::int64_t sample_size = 4'000'000;  // characters
  double sample_temperature = 5;
  std::int64_t seed = 1;
  // output
  std::string output;
  bool force = false;
  std::string temporary_folder;
  std::int64_t threads = 0;

  void describe(OptionTable& table);
};

struct InfoOptions {
  std::string file;
  bool json = false;
  void describe(OptionTable& table);
};

struct TextOptions {
  std::string file;
  std::string split = "test";
  std::string directions = "both";
  void describe(OptionTable& table);
};

struct VerifyOptions {
  std::string file;
  bool quick = false;
  void describe(OptionTable& table);
};

/// Each returns the exit code. Throws Error.
int run_build(const BuildOptions& options);
int run_info(const InfoOptions& options);
/// Prints source language, target language, source and target, separated by tabs: text has no tabs.
int run_text(const TextOptions& options);
int run_verify(const VerifyOptions& options);

}  // namespace moe::prep

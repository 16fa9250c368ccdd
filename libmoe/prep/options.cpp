#include "libmoe/prep/options.h"

namespace moe::prep {

void BuildOptions::describe(OptionTable& t) {
  t.group("Input");
  t.add("files", &files, "FILE",
        "text files of the kind that --pair or --mono says: plain, gzip, zstd, xz or bzip2; - is standard "
        "input")
      .argument()
      .file();
  t.add("corpus", &corpus, "FILE",
        "corpus file in TOML that names pairs, monolingual text, splits and licences")
      .file();
  t.add("pair", &pair, "XX-YY", "the files are pairs of these languages: XX TAB YY on each line");
  t.add("mono", &mono, "XX", "the files are text of one language, a sentence on each line");
  t.add("aligned", &aligned, "", "with --pair: the files come in twos, XX and YY, line by line");
  t.add("columns", &columns, "N,M",
        "with --pair: columns of XX and YY among others in each line, counted from 1");
  t.add("encoding", &encoding, "NAME", "encoding of the files, such as ISO-8859-1 or UTF-16");
  t.add("dev", &dev, "FILE", "files of the same kind for the development split").file();
  t.add("test", &test, "FILE", "files of the same kind for the test split").file();
  t.add("licence", &licence, "TEXT", "licence of the files, kept in everything made from them");
  t.add("attribution", &attribution, "TEXT", "who made the files, kept likewise");
  t.add("strict", &strict, "", "stop at the first line with wrong columns, broken UTF-8 or more than 1 MiB");

  t.group("Cleaning");
  t.add("max-chars", &max_chars, "N", "longest sentence in characters").range(1, 1 << 18);
  t.add("max-length", &max_length, "TOKENS", "longest sentence in tokens").range(1, 1 << 18);
  t.add("max-ratio", &max_ratio, "R",
        "largest ratio of the sides' lengths in characters (wide ones count twice), beyond a slack of 10")
      .range(1, 1e6);
  t.add("keep-identical", &keep_identical, "", "keep pairs whose sides are equal");
  t.add("keep-duplicates", &keep_duplicates, "", "keep repeated pairs and repeated monolingual sentences");
  t.add("any-script", &any_script, "", "keep sentences whose letters are not in a script of their language");

  t.group("Splits");
  t.add("dev-share", &dev_share, "P",
        "share of sentences for dev, by a hash of the source sentence, unless the corpus "
        "names dev or test files")
      .range(0, 0.5);
  t.add("test-share", &test_share, "P", "share for test, likewise").range(0, 0.5);

  t.group("Vocabulary");
  t.add("vocabulary", &vocabulary, "FILE", "use this SentencePiece model").file();
  t.add("vocabulary-from", &vocabulary_from, "FILE", "use the vocabulary and languages of this dataset")
      .file();
  t.add("vocab-size", &training.vocab_size, "N", "train a SentencePiece model of at most this many pieces")
      .range(16, 1 << 20);
  t.add("model-type", &training.model_type, "TYPE", "kind of SentencePiece model").one_of({"unigram", "bpe"});
  t.add("character-coverage", &training.character_coverage, "P", "share of characters that get a piece")
      .range(kLeastCoverage, 1);
  t.add("byte-fallback", &training.byte_fallback, "", "write other characters as bytes instead of <unk>");
  t.add("normalization-rule-name", &training.normalization_rule_name, "NAME", "SentencePiece normalisation")
      .one_of({"nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf", "identity"});
  t.add("sample-size", &sample_size, "CHARS", "train it from a sample of this many characters")
      .range(1000, 1e9);
  t.add("sample-temperature", &sample_temperature, "T", "balance languages in the sample: share^(1/T)")
      .range(1, 1e6);
  t.add("seed", &seed, "N", "seed of the sample").range(0, 1e18);

  t.group("Output");
  t.add("output", &output, "FILE", "dataset file to write").short_name('o').require().output();
  t.add("force", &force, "", "replace the output file if it exists");
  t.add("temporary-folder", &temporary_folder, "DIR",
        "where text is kept aside, compressed; empty: the output's folder")
      .file();
  t.add("threads", &threads, "N", "threads, 0 = all processors").range(0, 1024);
}

void InfoOptions::describe(OptionTable& t) {
  t.add("file", &file, "FILE", "dataset file").argument().require().file();
  t.add("json", &json, "", "print JSON");
}

void TextOptions::describe(OptionTable& t) {
  t.add("file", &file, "FILE", "dataset file").argument().require().file();
  t.add("split", &split, "NAME", "which sentences").one_of({"dev", "test"});
  t.add("directions", &directions, "NAMES",
        "both, forward (as the dataset has the pairs), backward, or names as eng-deu,deu-eng");
}

void VerifyOptions::describe(OptionTable& t) {
  t.add("file", &file, "FILE", "dataset file").argument().require().file();
  t.add("quick", &quick, "", "check completeness and structure, not every checksum");
}

}  // namespace moe::prep

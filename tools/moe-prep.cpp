// Raw multilingual text to a dataset file.
#include "libmoe/base/signals.h"
#include "libmoe/prep/options.h"
#include "tools/common/tool.h"

using namespace moe;

int main(int argc, char** argv) {
  catch_stop_signals();
  prep::BuildOptions build;
  prep::InfoOptions info;
  prep::TextOptions text;
  prep::VerifyOptions verify;
  tools::Tool tool;
  tool.name = "moe-prep";
  tool.summary = "raw multilingual text to a dataset file";
  tool.description =
      R"(Cleans text, splits it, trains or takes a SentencePiece vocabulary, and writes the encoded sentences with
the vocabulary to one HDF5 file. Memory stays below 1 GiB for a corpus of any size.)";
  tool.commands.push_back(
      {"build",
       "make a dataset",
       "Reads tab-separated pairs, line-aligned files or monolingual text (plain, gzip, zstd, xz, bzip2), given as "
       "files or in a "
       "corpus file. Lines end in LF or CRLF; text becomes Unicode NFC, control characters go, broken UTF-8 "
       "becomes "
       "U+FFFD: all counted. A file is refused when more than 5% of its first 1000 lines, or of all, are not "
       "UTF-8; --encoding names another encoding. Lines are dropped, with a count for each reason, when a side has no visible character or is too "
       "long, when "
       "the sides differ too much in length or not at all, when letters are of another script than the "
       "language's, "
       "when the line is a duplicate, and from train when either side is a sentence of dev or test. Given "
       "dev and test "
       "files lose only lines that are empty, too long or without the right columns.\n\n"
       "A corpus file lists entries; paths are relative to it, {source}, {target} and {language} in them "
       "stand for "
       "the codes:\n\n"
       "  licence = \"CC BY 2.0 FR\"\n"
       "  attribution = \"Tatoeba.org contributors\"\n"
       "  [[pair]]\n"
       "  source = \"eng\"\n"
       "  target = [\"deu\", \"fra\"]            # one part each\n"
       "  train = \"train/{target}.tsv.gz\"\n"
       "  dev = \"dev/{target}.tsv\"\n"
       "  test = [[\"test.eng\", \"test.{target}\"]] # two line-aligned files\n"
       "  columns = [1, 2]                     # of a TSV with more columns\n"
       "  encoding = \"ISO-8859-1\"              # unless it is UTF-8\n"
       "  weight = 2.0                         # multiplies the share in training\n"
       "  [[mono]]\n"
       "  language = \"eng\"\n"
       "  train = \"news.eng.zst\"\n"
       "  [scripts]\n"
       "  eng = [\"Latn\"]                       # instead of what ICU knows\n\n"
       "Unless an entry names dev or test files, sentences go to dev and test by a hash of the source "
       "sentence, the "
       "same in all languages.",
       {{"Make a dataset of everything that a corpus file names",
         "moe-prep build --corpus corpus.toml --vocab-size 400 -o data.h5"},
        {"Make a dataset of English and German from tab-separated lines",
         "printf 'Good morning.\\tGuten Morgen.\\nThank you.\\tDanke.\\nSee you soon.\\tBis bald.\\n' | "
         "moe-prep build "
         "--pair eng-deu --vocab-size 300 --dev-share 0 --test-share 0 -o greetings.h5 -"}},
       [&](OptionTable& t) { build.describe(t); },
       [&] { return prep::run_build(build); }});
  tool.commands.push_back({"info",
                           "print languages, parts, sentences, tokens, lengths and cleaning counts",
                           "Prints tables, or JSON with every count per part.",
                           {},
                           [&](OptionTable& t) { info.describe(t); },
                           [&] { return prep::run_info(info); }});
  tool.commands.push_back(
      {"text",
       "print the text of the dev or test split",
       "Prints a line per sentence and direction: source language, target language, source and target, "
       "separated by tabs. Columns 2 and 3 are what moe-infer --target-from-line takes, column 4 is the "
       "reference for moe-score.",
       {{"Sentences for moe-infer --target-from-line, and their references",
         "moe-prep text data.h5 --split dev | tee dev.tsv | cut -f 2,3 > dev.source; cut -f 4 dev.tsv > "
         "dev.reference"}},
       [&](OptionTable& t) { text.describe(t); },
       [&] { return prep::run_text(text); }});
  tool.commands.push_back(
      {"verify",
       "check a dataset",
       "Reads every checksum, every length and every token; --quick checks only that the file is "
       "complete and its structure sound.",
       {},
       [&](OptionTable& t) { verify.describe(t); },
       [&] { return prep::run_verify(verify); }});
  tool.see_also = {"moe-train(1)", "moe-h5(5)"};
  return tools::run_tool(argc, argv, tool);
}

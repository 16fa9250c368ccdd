#include "tests/support/small_vocabulary.h"

#include "libmoe/text/vocabulary_trainer.h"

namespace moe::test {

std::string small_sentence(int i) {
  static const char* const kWords[] = {"garden", "seven", "old", "bridge", "grün",
                                       "река",   "sings", "and", "over"};
  std::string sentence;
  for (int w = 0; w < 4; ++w)
    sentence += std::string(w == 0 ? "" : " ") + kWords[(i * 5 + w * w + i / 7) % 9];
  return sentence;
}

std::shared_ptr<const Vocabulary> small_vocabulary(const std::vector<std::string>& languages) {
  static const std::string model = [] {
    VocabularyTraining options;
    options.vocab_size = 300;
    int i = 0;
    return train_vocabulary(
        options,
        [&](std::string& sentence) {
          sentence = small_sentence(i);
          return i++ < 200;
        },
        false);
  }();
  return std::make_shared<const Vocabulary>(model, languages);
}

}  // namespace moe::test

// The vocabulary of a dataset or model: a SentencePiece model's pieces, then control symbols that text can
// never produce. Its bytes travel inside every file made from the dataset.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace moe {

/// ids: [0, n_pieces) SentencePiece; then <mask>, <denoise>, <s> when the model has none, and one <2xx> per
/// language in the order of languages. Thread-safe after construction.
class Vocabulary {
 public:
  /// Throws Error(bad_input) when the bytes are no SentencePiece model, it has no </s>, or text can become
  /// its <s> or </s>.
  Vocabulary(std::string sentencepiece_model, std::vector<std::string> languages);
  ~Vocabulary();
  Vocabulary(Vocabulary&&) noexcept;
  Vocabulary& operator=(Vocabulary&&) noexcept;

  std::int32_t size() const;
  std::int32_t n_pieces() const;
  std::int32_t begin_id() const;  // <s>
  std::int32_t end_id() const;    // </s>
  std::int32_t unknown_id() const;
  std::int32_t mask_id() const;
  std::int32_t denoise_id() const;
  const std::vector<std::string>& languages() const;
  /// Index in languages(), -1 when absent.
  int language_index(std::string_view code) const;
  std::int32_t language_id(int language_index) const;  // the id of <2xx>
  const std::string& model_bytes() const;
  /// Same model bytes and languages.
  bool same_as(const Vocabulary& other) const;

  /// Equal to spm_encode; never yields a control symbol.
  std::vector<std::int32_t> encode(std::string_view utf8) const;
  /// Skips control symbols.
  std::string decode(const std::vector<std::int32_t>& ids) const;
  std::string piece(std::int32_t id) const;
  /// True where a word begins (its piece starts with U+2581): for word-wise noise.
  bool begins_word(std::int32_t id) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace moe

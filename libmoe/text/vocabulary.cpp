#include "libmoe/text/vocabulary.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <array>

#include "libmoe/base/error.h"
#include "libmoe/text/script.h"

namespace moe {
namespace {

constexpr std::int32_t kTaskSymbols = 2;  // <mask>, <denoise>
constexpr const char* kBegin = "<s>";
constexpr std::string_view kWordBegin = "\u2581";

}  // namespace

struct Vocabulary::Impl {
  std::string bytes;
  std::vector<std::string> languages;
  sentencepiece::SentencePieceProcessor processor;
  std::int32_t n_pieces = 0, begin = 0, end = 0;
  std::int32_t first_language = 0;  // the id of its symbol
  std::vector<bool> begins_word;    // [n_pieces]
};

Vocabulary::Vocabulary(std::string sentencepiece_model, std::vector<std::string> languages)
    : impl_(std::make_unique<Impl>()) {
  Impl& v = *impl_;
  v.bytes = std::move(sentencepiece_model);
  v.languages = std::move(languages);
  for (std::size_t i = 0; i < v.languages.size(); ++i) {
    if (!is_language_code(v.languages[i])) bad_input("vocabulary: '{}' is no language code", v.languages[i]);
    if (std::count(v.languages.begin(), v.languages.end(), v.languages[i]) > 1)
      bad_input("vocabulary: language {} stands there twice", v.languages[i]);
  }
  const auto status = v.bytes.empty() ? sentencepiece::util::Status(
                                            sentencepiece::util::StatusCode::kInvalidArgument, "no bytes")
                                      : v.processor.LoadFromSerializedProto(v.bytes);
  if (!status.ok()) bad_input("vocabulary: is no SentencePiece model ({})", status.error_message());
  v.n_pieces = v.processor.GetPieceSize();
  v.end = v.processor.eos_id();  // -1 unless it is a control piece, which text cannot produce
  if (v.end < 0)
    bad_input(
        "vocabulary: the SentencePiece model has no </s> as a control piece; train it with eos_id, and without "
        "naming </s> as a user-defined symbol");
  v.first_language = v.n_pieces + kTaskSymbols;
  v.begin = v.processor.bos_id();
  if (v.begin < 0) {
    if (!v.processor.IsUnknown(v.processor.PieceToId(kBegin)))
      bad_input(
          "vocabulary: text can become <s>; train the SentencePiece model without naming it as a "
          "user-defined symbol");
    v.begin = v.first_language++;
  }
  v.begins_word.resize(static_cast<std::size_t>(v.n_pieces));
  for (std::int32_t id = 0; id < v.n_pieces; ++id)
    v.begins_word[static_cast<std::size_t>(id)] = v.processor.IdToPiece(id).starts_with(kWordBegin);
}

Vocabulary::~Vocabulary() = default;
Vocabulary::Vocabulary(Vocabulary&&) noexcept = default;
Vocabulary& Vocabulary::operator=(Vocabulary&&) noexcept = default;

std::int32_t Vocabulary::size() const {
  return impl_->first_language + static_cast<std::int32_t>(impl_->languages.size());
}
std::int32_t Vocabulary::n_pieces() const {
  return impl_->n_pieces;
}
std::int32_t Vocabulary::begin_id() const {
  return impl_->begin;
}
std::int32_t Vocabulary::end_id() const {
  return impl_->end;
}
std::int32_t Vocabulary::unknown_id() const {
  return impl_->processor.unk_id();
}
std::int32_t Vocabulary::mask_id() const {
  return impl_->n_pieces;
}
std::int32_t Vocabulary::denoise_id() const {
  return impl_->n_pieces + 1;
}
const std::vector<std::string>& Vocabulary::languages() const {
  return impl_->languages;
}

int Vocabulary::language_index(std::string_view code) const {
  const auto& all = impl_->languages;
  const auto found = std::find(all.begin(), all.end(), code);
  return found == all.end() ? -1 : static_cast<int>(found - all.begin());
}

std::int32_t Vocabulary::language_id(int language_index) const {
  MOE_CHECK(language_index >= 0 && language_index < static_cast<int>(impl_->languages.size()));
  return impl_->first_language + language_index;
}

const std::string& Vocabulary::model_bytes() const {
  return impl_->bytes;
}
bool Vocabulary::same_as(const Vocabulary& other) const {
  return impl_->bytes == other.impl_->bytes && impl_->languages == other.impl_->languages;
}

std::vector<std::int32_t> Vocabulary::encode(std::string_view utf8) const {
  std::vector<std::int32_t> ids;
  const auto status = impl_->processor.Encode(utf8, &ids);
  if (!status.ok()) bad_input("vocabulary: cannot encode a text ({})", status.error_message());
  return ids;
}

std::string Vocabulary::decode(const std::vector<std::int32_t>& ids) const {
  std::vector<int> pieces;
  pieces.reserve(ids.size());
  for (const std::int32_t id : ids) {
    MOE_CHECK(id >= 0 && id < size(), "id {} of a vocabulary of {}", id, size());
    if (id < impl_->n_pieces && !impl_->processor.IsControl(id)) pieces.push_back(id);
  }
  std::string text;
  const auto status = impl_->processor.Decode(pieces, &text);
  if (!status.ok()) bad_input("vocabulary: cannot decode ({})", status.error_message());
  return text;
}

std::string Vocabulary::piece(std::int32_t id) const {
  MOE_CHECK(id >= 0 && id < size(), "id {} of a vocabulary of {}", id, size());
  if (id < impl_->n_pieces) return impl_->processor.IdToPiece(id);
  if (id == mask_id()) return "<mask>";
  if (id == denoise_id()) return "<denoise>";
  if (id == begin_id()) return kBegin;
  return "<2" + impl_->languages[static_cast<std::size_t>(id - impl_->first_language)] + ">";
}

bool Vocabulary::begins_word(std::int32_t id) const {
  return id >= 0 && id < impl_->n_pieces && impl_->begins_word[static_cast<std::size_t>(id)];
}

}  // namespace moe

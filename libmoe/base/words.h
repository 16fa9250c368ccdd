// Enumerations whose values are words on the command line and in files.
#pragma once
#include <array>
#include <cstddef>
#include <span>
#include <string>

namespace moe {

/// The words of an enumeration in the order of its values, which count from 0; specialised beside it:
///   enum class Colour : std::uint8_t { red, green };
///   template <>
///   inline constexpr std::array kWords<Colour>{"red", "green"};
template <class E>
inline constexpr std::array<const char*, 0> kWords{};

template <class E>
constexpr const char* word_of(E value) {
  return kWords<E>[static_cast<std::size_t>(value)];
}

/// A variable of some enumeration with words, which it must not outlive.
class Word {
 public:
  template <class E>
  explicit Word(E* value) : value_(reinterpret_cast<unsigned char*>(value)), words_(kWords<E>) {
    static_assert(sizeof(E) == 1 && !kWords<E>.empty());
  }
  std::span<const char* const> words() const { return words_; }
  const char* text() const { return words_[*value_]; }
  /// False, and nothing changes, when it is none of the words.
  bool set(const std::string& text) const {
    for (std::size_t i = 0; i < words_.size(); ++i)
      if (text == words_[i]) {
        *value_ = static_cast<unsigned char>(i);
        return true;
      }
    return false;
  }

 private:
  unsigned char* value_;
  std::span<const char* const> words_;
};

}  // namespace moe

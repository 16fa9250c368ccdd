#include "libmoe/text/encoding.h"

#include <unicode/ucnv.h>
#include <unicode/ucnv_cb.h>
#include <unicode/ucsdet.h>
#include <unicode/utf16.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "libmoe/base/error.h"

namespace moe {
namespace {

constexpr std::int32_t kLeastConfidence = 10;  // of ICU's 0 to 100
constexpr UChar kFault = 0xDC00;               // half a surrogate pair: no converter gives it alone

void U_CALLCONV mark_fault(const void*, UConverterToUnicodeArgs* args, const char*, std::int32_t,
                           UConverterCallbackReason reason, UErrorCode* status) {
  if (reason > UCNV_IRREGULAR) return;
  *status = U_ZERO_ERROR;
  ucnv_cbToUWriteUChars(args, &kFault, 1, 0, status);
}

std::string to_utf8(const std::u16string& units) {
  std::string text;
  const auto n = static_cast<std::int32_t>(units.size());
  for (std::int32_t i = 0; i < n;) {
    UChar32 c;
    U16_NEXT(units.data(), i, n, c);
    if (U_IS_SURROGATE(c)) {
      text += '\xff';
      continue;
    }
    std::array<std::uint8_t, U8_MAX_LENGTH> bytes;
    std::int32_t length = 0;
    U8_APPEND_UNSAFE(bytes.data(), length, c);
    text.append(reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(length));
  }
  return text;
}

}  // namespace

std::string Encoding::written(const std::string& other_name) const {
  return fmt::vformat(option, fmt::make_format_args(other_name));
}

bool is_encoding(const std::string& name) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::LocalUConverterPointer converter(name.empty() ? nullptr : ucnv_open(name.c_str(), &status));
  return U_SUCCESS(status) && converter.isValid();
}

bool is_utf8(const std::string& name) {
  return ucnv_compareNames(name.c_str(), kUtf8) == 0;
}

bool is_surely_utf8(std::string_view bytes) {
  // Two bytes of Shift_JIS or GBK are one of UTF-8 by chance in about one of seven characters: not eight
  // times.
  constexpr std::ptrdiff_t kLeastBytes = 16;
  const auto n = std::count_if(bytes.begin(), bytes.end(), [](char c) { return (c & 0x80) != 0; });
  return n >= kLeastBytes && is_utf8_text(bytes, true);
}

bool is_utf8_text(std::string_view bytes, bool cut) {
  constexpr std::uint64_t kHigh = 0x8080808080808080, kLow = 0x0101010101010101;
  std::size_t ascii = 0;
  for (std::uint64_t eight; ascii + sizeof eight <= bytes.size(); ascii += sizeof eight) {
    std::memcpy(&eight, bytes.data() + ascii, sizeof eight);
    if (((eight | (eight - kLow)) & kHigh) != 0) break;  // above 127, or 0
  }
  bytes.remove_prefix(ascii);
  const auto* p = reinterpret_cast<const std::uint8_t*>(bytes.data());
  auto n = static_cast<std::int32_t>(bytes.size());
  if (cut) U8_TRUNCATE_IF_INCOMPLETE(p, 0, n);
  for (std::int32_t i = 0; i < n;) {
    UChar32 c;
    U8_NEXT(p, i, n, c);
    if (c <= 0) return false;
  }
  return true;
}

std::string guess_encoding(std::string_view bytes) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::LocalUCharsetDetectorPointer detector(ucsdet_open(&status));
  ucsdet_setText(detector.getAlias(), bytes.data(), static_cast<std::int32_t>(bytes.size()), &status);
  std::int32_t n = 0;
  const UCharsetMatch** matches = ucsdet_detectAll(detector.getAlias(), &n, &status);
  for (std::int32_t i = 0; U_SUCCESS(status) && i < n; ++i) {
    const std::string name = ucsdet_getName(matches[i], &status);
    if (ucsdet_getConfidence(matches[i], &status) >= kLeastConfidence && !is_utf8(name)) return name;
  }
  return "";
}

struct Converter::Impl {
  icu::LocalUConverterPointer converter;
};

Converter::Converter(const std::string& encoding) : impl_(std::make_unique<Impl>()) {
  UErrorCode status = U_ZERO_ERROR;
  impl_->converter.adoptInstead(ucnv_open(encoding.c_str(), &status));
  ucnv_setToUCallBack(impl_->converter.getAlias(), mark_fault, nullptr, nullptr, nullptr, &status);
  MOE_CHECK(U_SUCCESS(status), "encoding {}", encoding);
}
Converter::~Converter() = default;

std::string Converter::convert(std::span<const char> bytes, bool last) {
  std::array<UChar, 4096> block;
  std::u16string units;  // of all blocks: a pair may lie across two of them
  const char *from = bytes.data(), *end = from + bytes.size();
  UErrorCode status = U_BUFFER_OVERFLOW_ERROR;
  while (status == U_BUFFER_OVERFLOW_ERROR) {
    status = U_ZERO_ERROR;
    UChar* to = block.data();
    ucnv_toUnicode(impl_->converter.getAlias(), &to, block.data() + block.size(), &from, end, nullptr, last,
                   &status);
    units.append(block.data(), to);
  }
  MOE_CHECK(U_SUCCESS(status), "{}", u_errorName(status));
  return to_utf8(units);
}

}  // namespace moe

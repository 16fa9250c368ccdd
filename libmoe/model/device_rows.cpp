#include "libmoe/model/device_rows.h"

#include <algorithm>

namespace moe {
namespace {

void check(const Ragged& rows, std::int64_t vocab_size, std::int64_t max_length) {
  for (std::int32_t token : rows.tokens)
    if (token < 0 || token >= vocab_size)
      bad_input(
          "token {} is outside the model's vocabulary of {}; use data made with the model's own vocabulary",
          token, vocab_size);
  for (std::int32_t n : rows.length)
    if (n > max_length)
      bad_input("a sentence of {} tokens is longer than the model's max_length {}; leave it out or split it",
                n, max_length);
}

}  // namespace

Tensor upload_indices(Stream& stream, const std::vector<std::int32_t>& values) {
  Tensor tensor(stream.device(), {static_cast<std::int64_t>(values.size())}, DType::i32);
  copy_from_host<std::int32_t>(stream, values, tensor);
  return tensor;
}

DeviceRows DeviceRows::upload(Stream& stream, const Ragged& rows, const std::vector<std::int32_t>& language,
                              std::int64_t vocab_size, std::int64_t max_length) {
  check(rows, vocab_size, max_length);
  MOE_CHECK(language.empty() || language.size() == rows.begin.size(), "{} languages of {} sentences",
            language.size(), rows.begin.size());
  std::vector<std::int32_t> position(rows.tokens.size(), -1),
      group(language.empty() ? 0 : rows.tokens.size());
  DeviceRows result;
  for (std::size_t b = 0; b < rows.begin.size(); ++b) {
    MOE_CHECK(rows.begin[b] >= 0 && rows.begin[b] + rows.length[b] <= rows.n_tokens());
    for (std::int32_t i = 0; i < rows.length[b]; ++i) {
      const auto row = static_cast<std::size_t>(rows.begin[b] + i);
      position[row] = i;
      if (!language.empty()) group[row] = language[b];
    }
    if (!language.empty()) {
      MOE_CHECK(language[b] >= 0, "language {}", language[b]);
      result.n_groups = std::max<std::int64_t>(result.n_groups, language[b] + 1);
    }
  }
  MOE_CHECK(std::find(position.begin(), position.end(), -1) == position.end(),
            "a row outside every sentence");
  result.n_rows = rows.n_tokens();
  result.ids = upload_indices(stream, rows.tokens);
  result.position = upload_indices(stream, position);
  result.begin = upload_indices(stream, rows.begin);
  result.length = upload_indices(stream, rows.length);
  if (!language.empty()) result.group = upload_indices(stream, group);
  return result;
}

}  // namespace moe

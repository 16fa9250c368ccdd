// A ragged batch on the device.
#pragma once
#include "libmoe/data/batch.h"
#include "libmoe/nn/attention.h"

namespace moe {

struct DeviceRows {
  Tensor ids, position;  // [T] i32; position within the sentence
  Tensor begin, length;  // [B] i32
  Tensor group;          // [T] i32 language of each row's sentence; empty when no languages are given
  std::int64_t n_groups = 1;
  std::int64_t n_rows = 0;

  RowRanges ranges() const { return {begin, length}; }

  /// Throws Error(bad_input) for a token outside the vocabulary or a sentence longer than max_length.
  static DeviceRows upload(Stream& stream, const Ragged& rows, const std::vector<std::int32_t>& language,
                           std::int64_t vocab_size, std::int64_t max_length);
};

/// Copies host indices to the device: [N] i32.
Tensor upload_indices(Stream& stream, const std::vector<std::int32_t>& values);

}  // namespace moe

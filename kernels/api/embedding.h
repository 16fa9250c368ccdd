// Rows looked up by index.
#pragma once
#include "kernels/api/types.h"

namespace moe::kernels {

/// y[t] = table[ids[t]] * scale + positions[position[t]]
struct EmbeddingArgs {
  std::int64_t n_rows, width;
  const std::int32_t* ids;  // [n_rows], each a row of table
  const float* table;       // [V,width]
  float scale;
  const std::int32_t* position;  // [n_rows], each a row of positions; null when positions is
  const float* positions;        // [P,width] or null (nothing is added)
  float* y;                      // [n_rows,width], ld_y
  std::int64_t ld_y;
};

/// dtable[ids[t]] += dy[t] * scale, for t = 0, 1, ... in that order.
struct EmbeddingBackwardArgs {
  std::int64_t n_rows, width;
  const std::int32_t* ids;  // [n_rows]
  const float* dy;          // [n_rows,width], ld_dy
  std::int64_t ld_dy;
  float scale;
  float* dtable;  // [V,width]
};

/// y[i] = x[index[i]], or zeros where index[i] is -1.
struct GatherRowsArgs {
  std::int64_t n_rows, width;
  const std::int32_t* index;  // [n_rows]
  const float* x;             // [R,width], ld_x
  std::int64_t ld_x;
  float* y;  // [n_rows,width], ld_y; not x
  std::int64_t ld_y;
};

}  // namespace moe::kernels

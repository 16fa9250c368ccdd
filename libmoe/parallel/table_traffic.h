// What ranks exchange for the token tables of a model, whole on every rank or divided.
#pragma once
#include <cstdint>

namespace moe {

/// A model's tables, and what an update does with them.
struct TableUse {
  std::int64_t n_tables = 1;  // one when source, target and output share it
  std::int64_t n_vocabulary = 0, width = 0;
  int n_ranks = 1;                                // of a data group
  std::int64_t source_rows = 0, target_rows = 0;  // of a micro-batch, over all ranks
  std::int64_t n_micro_batches = 1;
};

/// Bytes that a rank sends in an update, messages counted as the bytes that take as long.
struct TableTraffic {
  /// The gradients of whole tables are reduced, once.
  double whole = 0;
  /// Vectors of the rank's tokens and their gradients go to and from other ranks; the output projection's
  /// input goes to all of them, and its gradient comes back. An upper bound: a token that a rank has many
  /// times moves once.
  double divided = 0;
};

TableTraffic table_traffic(const TableUse& use);

}  // namespace moe

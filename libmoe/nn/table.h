// A [V,D] table of token vectors, whole on every rank or divided by rows over a data group (embedding
// partition, arXiv 2205.10034), a tensor group (arXiv 1909.08053), or both.
#pragma once
#include <string>
#include <vector>

#include "libmoe/comm/process_grid.h"
#include "libmoe/nn/parameter.h"

namespace moe {

/// A parameter of vectors that are looked up: [rows,D], which begin with the deviation 1/sqrt(D).
ParameterSpec vectors_spec(const std::string& name, const Axis& rows, std::int64_t width);

/// Which part has a row: blocks of rows are dealt to the parts in turn. Vocabularies number frequent tokens
/// first, so that every part has its share of these.
class RowPartition {
 public:
  /// n_parts is at most n_rows; parts differ by one block at most.
  RowPartition(std::int64_t n_rows, int n_parts);
  std::int64_t n_rows() const { return n_rows_; }
  int n_parts() const { return static_cast<int>(n_parts_); }
  int part_of(std::int64_t row) const { return static_cast<int>(row / block_ % n_parts_); }
  /// A row's place within its part.
  std::int64_t local(std::int64_t row) const { return row / block_ / n_parts_ * block_ + row % block_; }
  /// Rows of a part, in the order of their places; empty when there is one part.
  std::vector<IndexRange> ranges(int part) const;

 private:
  std::int64_t n_rows_, n_parts_, block_;
};

/// The ranks that divide a table. Part i is that of rank i of `all`.
struct TableGroups {
  Communicator* data = nullptr;    // ranks with other tokens; null when each has a whole copy for itself
  Communicator* tensor = nullptr;  // ranks with the same tokens; null when it is one
  Communicator* all = nullptr;     // both together; null when the table is whole
};
/// over_data: divide over the data group. Divided over the tensor group in any case.
TableGroups table_groups(const ProcessGrid& grid, bool over_data);

/// Parameter "<name>" [V,D]. When it is divided over a data group every rank gets the gradient of its rows
/// from all of the group: nothing is left to reduce. The communicators must outlive the table. Collective
/// over the groups, also for ranks without tokens. Not thread-safe.
class Table {
 public:
  Table(ParameterList& parameters, const std::string& name, std::int64_t n_rows, std::int64_t width,
        const TableGroups& groups = {});

  std::int64_t n_rows() const { return partition_.n_rows(); }
  std::int64_t width() const { return parameter_->spec.axes[1].size; }
  bool divided() const { return groups_.all != nullptr; }
  const TableGroups& groups() const { return groups_; }
  const RowPartition& partition() const { return partition_; }
  /// Number of this rank's part.
  int part() const { return divided() ? groups_.all->rank() : 0; }
  /// Rows of this rank: [V of this part,D].
  const TensorView& value() const { return parameter_->value; }
  const TensorView& gradient() const { return parameter_->gradient; }
  /// All rows; the table must not be divided.
  const TensorView& whole() const;

  /// The vectors of some tokens, and what is needed to send their gradients back.
  struct Fetched {
    TensorView rows;     // [U,D]: the whole table, or each of the tokens once; without data after release()
    TensorView index;    // [T] i32: row of each token
    std::int64_t n = 0;  // U
    // Of a divided table.
    Tensor own_rows, own_index;
    IndexRange mine;                              // of the U rows, those that this tensor rank asks for
    std::vector<std::int64_t> n_asked, n_served;  // rows from and for each rank of the data group
    Tensor served;                                // [sum of n_served] i32 places of the rows for others
    /// Frees the rows, which the backward pass does not need.
    void release() { own_rows = Tensor(), rows.data = nullptr; }
  };
  /// ids: [T] i32. Waits for the stream when the table is divided.
  Fetched fetch(Stream& stream, const TensorView& ids) const;
  /// gradient of row ids[t] += dy[t] * scale. dy: [T,D].
  void add_gradient(Stream& stream, const Fetched& fetched, const TensorView& dy, float scale) const;

 private:
  void exchange(Stream& stream, Fetched& fetched, const std::vector<std::int32_t>& places) const;
  RowPartition partition_;
  TableGroups groups_;
  Parameter* parameter_;
};

}  // namespace moe

// Host copies of what an operation between ranks reads and writes, for devices whose memory the host cannot
// reach.
#pragma once
#include <cstddef>
#include <memory>
#include <vector>

#include "libmoe/comm/progress.h"

namespace moe {

/// Each view comes back as it is where the host can reach it, and else as a copy on the host. Contiguous
/// views only; what the stream has yet to do on them is waited for.
class Staging {
 public:
  explicit Staging(Stream& stream) : stream_(stream) {}
  TensorView input(const TensorView& view);
  TensorView output(const TensorView& view);
  TensorView in_place(const TensorView& view);
  /// The operation on these views; where it ends, its results are copied to the device. The stream must live
  /// until then.
  std::shared_ptr<Operation> around(std::shared_ptr<Operation> operation);

 private:
  friend class StagedOperation;
  using Bytes = std::vector<std::byte>;
  struct Result {
    TensorView view;
    const std::byte* host;
  };
  TensorView staged(const TensorView& view, bool read, bool written);

  Stream& stream_;
  std::vector<Bytes> copies_;
  std::vector<Result> results_;
};

}  // namespace moe

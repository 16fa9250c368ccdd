// Data parallelism with what it divides among ranks: moments, gradients, values (ZeRO, arXiv 1910.02054),
// gathered and reduced in one buffer per layer (fusion communication, arXiv 2205.10034) while the passes go
// on.
#pragma once
#include <deque>
#include <optional>
#include <vector>

#include "libmoe/comm/process_grid.h"
#include "libmoe/nn/optimizer.h"
#include "libmoe/nn/parameter.h"

namespace moe {

/// Reductions under way while the backward pass goes on: each holds a layer's gradients when these are
/// divided.
inline constexpr std::size_t kReductionsAhead = 2;

/// Between the passes of an update and its optimizer step. Collective: all ranks of the grid call the same.
/// With one rank nothing moves. Not thread-safe.
class DataParallel final : public UnitObserver {
 public:
  /// overlap: reductions go on during the backward pass, and values come one layer ahead; false: each is
  /// waited for. The parameters are allocated with the grid's sharding, and have gradients.
  DataParallel(const ProcessGrid& grid, ParameterList& parameters, bool overlap);

  /// Gradients start from 0.
  void begin_update(Stream& stream);
  /// last: the update's last micro-batch; its gradients are complete.
  void begin_pass(bool last) { last_pass_ = last; }
  void before_use(Stream& stream, int unit, bool backward) override;
  void after_use(Stream& stream, int unit, bool backward) override;
  /// After the last pass: every owned gradient is the sum over ranks, and an expert that had tokens on one
  /// rank is marked as touched on all that hold it.
  void finish_gradients(Stream& stream);
  /// Over all ranks, the same on each. Not finite when a gradient is not, or `with` is not on some rank.
  /// Waits for the stream.
  double gradient_norm(Stream& stream, double with = 0) const;
  /// Where a NaN began, over all ranks (see nn/optimizer.h); the same on each. Waits for the stream.
  std::optional<BadTensor> first_bad_tensor(Stream& stream) const;
  /// After the optimizer's step: every rank has all values again (those that are not divided).
  void publish_values(Stream& stream);

 private:
  struct Part {                // one group of the list
    Communicator* copies;      // ranks that hold it; null when it is this one alone
    std::int64_t passes = 0;   // users of the gathered values
    Tensor values, gradients;  // [n_elements] while in use, when divided
    PendingPtr gather;
  };
  struct Reduction {
    std::size_t group;
    Tensor all, share;  // what was reduced, and what came of it; empty when in place
    PendingPtr pending;
  };
  bool divides(const ParameterGroup& group, int stage) const;
  std::vector<std::size_t> groups_of(int unit) const;
  void start_gather(Stream& stream, std::size_t g);
  void start_reduction(Stream& stream, std::size_t g);
  void finish_reductions(Stream& stream, std::size_t leave);
  void share_touched();

  const ProcessGrid& grid_;
  ParameterList& parameters_;
  bool overlap_, last_pass_ = true;
  int n_units_ = 0;
  std::vector<Part> parts_;
  std::deque<Reduction> reductions_;
};

}  // namespace moe

// Moves rows between the order of tokens and the experts, wherever these are.
#pragma once
#include <functional>
#include <vector>

#include "libmoe/comm/communicator.h"
#include "libmoe/moe/plan.h"
#include "libmoe/moe/route.h"

namespace moe {

/// How the rows of one pass reach their experts.
struct Route {
  struct Stage {
    StageSizes sizes;
    ExpertRows experts;         // the stage's rows at the experts of this rank
    Tensor offsets, choice;     // what it shows
    Tensor by_expert, by_rank;  // permutations on the device; empty where both orders are the same
  };
  std::vector<Stage> stages;
  std::int64_t n_received = 0;  // rows that the experts of this rank get
  std::int64_t own_block = 0;   // see RouteSizes
  Tensor own_rows, place;       // permutations on the device; empty where own rows are the plan's
};

/// Between the tokens of this rank and the experts of all ranks that share a layer's: gathers rows, takes
/// them there, brings back what the experts made of them, combines. Every step but the experts' is linear;
/// bringing back is the adjoint of taking there, and combine with unit weights that of dispatch.
class Dispatcher {
 public:
  /// Gives what travels meanwhile a chance to go on.
  using Progress = std::function<void()>;
  /// Makes of a stage's rows [n,D] this tensor rank's part of their results [n,D], which are summed over the
  /// tensor group.
  using Work = std::function<void(std::size_t stage, const TensorView& rows, const TensorView& results,
                                  const Progress& progress)>;

  virtual ~Dispatcher() = default;
  /// Rows go to other buffers; otherwise the experts read and write those of this rank's tokens.
  virtual bool moves() const = 0;
  /// All sizes and offsets of a pass. Collective over the ranks that share the experts. with_choices: the
  /// experts ask for the choices that their rows serve. The plan must outlive the route.
  virtual Route route(Stream& stream, const Plan& plan, bool with_choices) const = 0;
  /// rows, results: [N,D] in the plan's order. Calls work for each stage, with rows that stay in received
  /// [n_received,D]; received is empty when they need not stay, and rows where nothing moves. Collective; a
  /// rank without rows takes part.
  virtual void run(Stream& stream, const Route& route, const TensorView& rows, const TensorView& received,
                   const Work& work, const TensorView& results) const = 0;

  /// x: [T,D] -> rows in the plan's order [N,D].
  static Tensor dispatch(Stream& stream, const Plan& plan, const TensorView& x);
  /// dx: [T,D] is overwritten by the gradient of dispatch's input.
  static void dispatch_backward(Stream& stream, const Plan& plan, const TensorView& drows,
                                const TensorView& dx);
  /// y[t] = sum_j weight[t,j] * rows[row of choice j]; tokens without rows give 0. y: [T,D].
  static void combine(Stream& stream, const Plan& plan, const TensorView& rows, const TensorView& weight,
                      const TensorView& y);
  /// drows: [N,D] and dweight: [T,K] are overwritten.
  static void combine_backward(Stream& stream, const Plan& plan, const TensorView& rows,
                               const TensorView& weight, const TensorView& dy, const TensorView& drows,
                               const TensorView& dweight);
};

/// All experts on this rank, or parts of all of them on each rank of the tensor group.
class LocalDispatcher final : public Dispatcher {
 public:
  /// The group must outlive the dispatcher.
  explicit LocalDispatcher(Communicator& tensor) : tensor_(&tensor) {}
  bool moves() const override { return false; }
  Route route(Stream& stream, const Plan& plan, bool with_choices) const override;
  void run(Stream& stream, const Route& route, const TensorView& rows, const TensorView& received,
           const Work& work, const TensorView& results) const override;

 private:
  Communicator* tensor_;
};

}  // namespace moe

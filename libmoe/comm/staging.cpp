#include "libmoe/comm/staging.h"

#include <utility>

namespace moe {

/// An operation on copies.
class StagedOperation final : public Operation {
 public:
  StagedOperation(std::shared_ptr<Operation> operation, Staging staging)
      : Operation(operation->what()), operation_(std::move(operation)), staging_(std::move(staging)) {}
  bool advance() override {
    if (!operation_->advance()) return false;
    for (const Staging::Result& r : staging_.results_)
      staging_.stream_.copy(r.view.data, r.host, r.view.n_bytes());
    staging_.stream_.synchronize();
    return true;
  }

 private:
  std::shared_ptr<Operation> operation_;
  Staging staging_;
};

TensorView Staging::input(const TensorView& view) {
  return staged(view, true, false);
}
TensorView Staging::output(const TensorView& view) {
  return staged(view, false, true);
}
TensorView Staging::in_place(const TensorView& view) {
  return staged(view, true, true);
}

TensorView Staging::staged(const TensorView& view, bool read, bool written) {
  MOE_CHECK(view.contiguous());
  if (view.device == nullptr || view.device->host_accessible()) {
    stream_.synchronize();
    return view;
  }
  Bytes& copy = copies_.emplace_back(static_cast<std::size_t>(view.n_bytes()));
  if (read) stream_.copy(copy.data(), view.data, view.n_bytes());
  stream_.synchronize();
  if (written) results_.push_back({view, copy.data()});
  TensorView on_host = view;
  on_host.data = copy.data();
  on_host.device = nullptr;
  return on_host;
}

std::shared_ptr<Operation> Staging::around(std::shared_ptr<Operation> operation) {
  if (copies_.empty()) return operation;
  return std::make_shared<StagedOperation>(std::move(operation), std::move(*this));
}

}  // namespace moe

// The Communicator over MPI.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "libmoe/comm/mpi_tasks.h"
#include "libmoe/comm/shared_window.h"

namespace moe {

class MpiCommunicator final : public Communicator {
 public:
  /// Collective over comm, which it owns unless it is the world. members: ranks of the world.
  MpiCommunicator(std::shared_ptr<MpiRuntime> runtime, MPI_Comm comm, std::vector<int> members,
                  std::string name);
  ~MpiCommunicator() override;

  int rank() const override { return group_.rank; }
  int size() const override { return group_.size; }
  const std::string& name() const override { return name_; }
  int ranks_on_machine() const override;
  std::unique_ptr<Communicator> split(int colour, const std::string& name) override;

  PendingPtr start_all_reduce(Stream& stream, Reduce reduce, const TensorView& values) override;
  PendingPtr start_all_gather(Stream& stream, const TensorView& mine, const TensorView& all) override;
  PendingPtr start_reduce_scatter(Stream& stream, const TensorView& all, const TensorView& mine) override;
  PendingPtr start_all_to_all(Stream& stream, const TensorView& send, std::span<const std::int64_t> send_rows,
                              const TensorView& receive, std::span<const std::int64_t> receive_rows) override;
  PendingPtr start_broadcast(Stream& stream, const TensorView& values, int root) override;
  void barrier() override;
  void all_reduce(Reduce reduce, std::span<double> values) override;
  void all_reduce(Reduce reduce, std::span<std::int64_t> values) override;
  void all_gather(std::span<const std::int64_t> mine, std::span<std::int64_t> all) override;
  void broadcast(std::string& text, int root) override;

  MpiRuntime& runtime() const { return *runtime_; }
  const std::vector<int>& members() const { return members_; }
  bool shares_memory() const { return window_ != nullptr; }

 private:
  void make_window();
  bool use_window(std::int64_t bytes) const;
  std::string what(const char* operation) const;
  int next_tag();
  PendingPtr run(const std::shared_ptr<Operation>& task) { return Engine::run(runtime_->engine(), task); }
  void wait_for(const std::shared_ptr<Operation>& task) { run(task)->wait(); }

  std::shared_ptr<MpiRuntime> runtime_;
  MpiGroup group_;
  std::vector<int> members_;
  std::string name_;
  std::unique_ptr<SharedWindow> window_;
  std::int64_t n_operations_ = 0;
};

}  // namespace moe

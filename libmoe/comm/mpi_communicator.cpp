#include "libmoe/comm/mpi_communicator.h"

#include <unistd.h>

#include <algorithm>
#include <exception>
#include <numeric>

#include "libmoe/comm/staging.h"

namespace moe {
namespace {

std::vector<std::int64_t> bytes_of(const TensorView& view, std::span<const std::int64_t> rows) {
  std::int64_t row_bytes = static_cast<std::int64_t>(size_of(view.dtype)), n = 0;
  for (int i = 1; i < view.shape.rank(); ++i) row_bytes *= view.shape[i];
  std::vector<std::int64_t> bytes;
  for (const std::int64_t r : rows) {
    bytes.push_back(r * row_bytes);
    n += r;
  }
  MOE_CHECK(n == view.rows(), "{} rows in blocks, {} in the tensor", n, view.rows());
  return bytes;
}

}  // namespace

MpiCommunicator::MpiCommunicator(std::shared_ptr<MpiRuntime> runtime, MPI_Comm comm, std::vector<int> members,
                                 std::string name)
    : runtime_(std::move(runtime)), members_(std::move(members)), name_(std::move(name)) {
  MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
  group_.runtime = runtime_.get();
  group_.comm = comm;
  MPI_Comm_rank(comm, &group_.rank);
  MPI_Comm_size(comm, &group_.size);
  const std::vector<int>& nodes = runtime_->topology().node_of_rank;
  for (const int m : members_)
    group_.near.push_back(nodes[static_cast<std::size_t>(m)] ==
                          nodes[static_cast<std::size_t>(runtime_->rank())]);
  make_window();
}

MpiCommunicator::~MpiCommunicator() {
  if (group_.comm != MPI_COMM_WORLD && !runtime_->engine()->abandoned() && std::uncaught_exceptions() == 0)
    MPI_Comm_free(&group_.comm);
}

void MpiCommunicator::make_window() {
  const bool one_node = std::find(group_.near.begin(), group_.near.end(), false) == group_.near.end();
  if (group_.size == 1 || !one_node) return;
  std::array<std::int64_t, 1> without{!runtime_->options().shared_memory};
  all_reduce(Reduce::max, std::span<std::int64_t>(without));
  if (without[0] != 0) return;
  static int n_made = 0;
  std::string shm = fmt::format("/moe-{}-{}", getpid(), n_made++);
  broadcast(shm, 0);
  if (group_.rank == 0) window_ = SharedWindow::make(0, group_.size, shm);
  barrier();
  if (group_.rank != 0) window_ = SharedWindow::join(group_.rank, group_.size, shm);
  std::vector<std::int64_t> joined{window_ != nullptr};
  all_reduce(Reduce::sum, joined);
  if (group_.rank == 0) SharedWindow::unlink(shm);
  if (joined[0] != group_.size) window_.reset();
}

std::unique_ptr<Communicator> MpiCommunicator::split(int colour, const std::string& name) {
  MOE_CHECK(colour >= 0);
  std::vector<std::int64_t> mine{colour}, colours(members_.size());
  all_gather(mine, colours);  // all have come, so that the call that cannot be given up is short
  std::vector<int> members;
  for (std::size_t r = 0; r < members_.size(); ++r)
    if (colours[r] == colour) members.push_back(members_[r]);
  MPI_Comm comm = MPI_COMM_NULL;
  runtime_->check(MPI_Comm_split(group_.comm, colour, group_.rank, &comm), what("splitting"));
  return std::make_unique<MpiCommunicator>(runtime_, comm, std::move(members), name);
}

bool MpiCommunicator::use_window(std::int64_t bytes) const {
  constexpr std::int64_t kFromBytes = 16 << 10;
  return window_ != nullptr && bytes >= kFromBytes;
}

std::string MpiCommunicator::what(const char* operation) const {
  return fmt::format("{} of {} on rank {} of {}", operation, name_, group_.rank, group_.size);
}

int MpiCommunicator::next_tag() {
  return static_cast<int>(n_operations_++ % runtime_->largest_tag());
}

PendingPtr MpiCommunicator::start_all_reduce(Stream& stream, Reduce reduce, const TensorView& values) {
  Staging staging(stream);
  const TensorView v = staging.in_place(values);
  if (use_window(v.n_bytes()))
    return run(staging.around(window_all_reduce(*window_, reduce, v, what("all-reduce"))));
  return run(staging.around(mpi_all_reduce(group_, next_tag(), v.data, v.shape.n_elements(),
                                           static_cast<std::int64_t>(size_of(v.dtype)),
                                           combine_for(reduce, v.dtype), what("all-reduce"))));
}

PendingPtr MpiCommunicator::start_all_gather(Stream& stream, const TensorView& mine, const TensorView& all) {
  MOE_CHECK(all.n_bytes() == mine.n_bytes() * group_.size);
  Staging staging(stream);
  const TensorView from = staging.input(mine), to = staging.output(all);
  if (use_window(from.n_bytes()))
    return run(staging.around(window_all_gather(*window_, from, to, what("all-gather"))));
  return run(staging.around(
      mpi_all_gather(group_, next_tag(), from.data, from.n_bytes(), to.data, what("all-gather"))));
}

PendingPtr MpiCommunicator::start_reduce_scatter(Stream& stream, const TensorView& all,
                                                 const TensorView& mine) {
  MOE_CHECK(all.n_bytes() == mine.n_bytes() * group_.size);
  Staging staging(stream);
  const TensorView from = staging.input(all), to = staging.output(mine);
  if (use_window(to.n_bytes()))
    return run(staging.around(window_reduce_scatter(*window_, from, to, what("reduce-scatter"))));
  return run(staging.around(mpi_reduce_scatter(group_, next_tag(), from.f32(), to.f32(),
                                               to.shape.n_elements(), what("reduce-scatter"))));
}

PendingPtr MpiCommunicator::start_all_to_all(Stream& stream, const TensorView& send,
                                             std::span<const std::int64_t> send_rows,
                                             const TensorView& receive,
                                             std::span<const std::int64_t> receive_rows) {
  MOE_CHECK(static_cast<int>(send_rows.size()) == group_.size &&
            static_cast<int>(receive_rows.size()) == group_.size);
  Staging staging(stream);
  const TensorView from = staging.input(send), to = staging.output(receive);
  return run(staging.around(mpi_all_to_all(group_, next_tag(), from.data, bytes_of(from, send_rows), to.data,
                                           bytes_of(to, receive_rows), what("all-to-all"))));
}

PendingPtr MpiCommunicator::start_broadcast(Stream& stream, const TensorView& values, int root) {
  Staging staging(stream);
  const TensorView v = staging.in_place(values);
  return run(staging.around(mpi_broadcast(group_, v.data, v.n_bytes(), root, what("broadcast"))));
}

void MpiCommunicator::barrier() {
  wait_for(mpi_barrier(group_, what("barrier")));
}

void MpiCommunicator::all_reduce(Reduce reduce, std::span<double> values) {
  wait_for(mpi_all_reduce(group_, next_tag(), values.data(), static_cast<std::int64_t>(values.size()),
                          sizeof(double), combine_for<double>(reduce), what("all-reduce")));
}

void MpiCommunicator::all_reduce(Reduce reduce, std::span<std::int64_t> values) {
  wait_for(mpi_all_reduce(group_, next_tag(), values.data(), static_cast<std::int64_t>(values.size()),
                          sizeof(std::int64_t), combine_for<std::int64_t>(reduce), what("all-reduce")));
}

void MpiCommunicator::all_gather(std::span<const std::int64_t> mine, std::span<std::int64_t> all) {
  MOE_CHECK(all.size() == mine.size() * static_cast<std::size_t>(group_.size));
  wait_for(mpi_all_gather(group_, next_tag(), mine.data(), static_cast<std::int64_t>(mine.size_bytes()),
                          all.data(), what("all-gather")));
}

void MpiCommunicator::broadcast(std::string& text, int root) {
  std::int64_t length = static_cast<std::int64_t>(text.size());
  wait_for(mpi_broadcast(group_, &length, sizeof length, root, what("broadcast")));
  text.resize(static_cast<std::size_t>(length));
  wait_for(mpi_broadcast(group_, text.data(), length, root, what("broadcast")));
}

int MpiCommunicator::ranks_on_machine() const {
  const std::vector<int>& nodes = runtime_->topology().node_of_rank;
  return static_cast<int>(std::ranges::count(nodes, nodes[static_cast<std::size_t>(runtime_->rank())]));
}

}  // namespace moe

#include "libmoe/comm/mpi_tasks.h"

#include <algorithm>
#include <cstring>

#include "libmoe/base/range.h"

namespace moe {
namespace {

constexpr std::int64_t kPiece = 1 << 30;
// Up to this many bytes in all, everybody gets everything at once and reduces by itself.
constexpr std::int64_t kSmallBytes = 64 << 10;

template <class Use>
void in_pieces(std::int64_t bytes, const Use& use) {
  for (std::int64_t at = 0; at < bytes; at += kPiece) use(at, static_cast<int>(std::min(kPiece, bytes - at)));
}

std::byte* at(void* data, std::int64_t bytes) {
  return static_cast<std::byte*>(data) + bytes;
}
const std::byte* at(const void* data, std::int64_t bytes) {
  return static_cast<const std::byte*>(data) + bytes;
}

void copy_bytes(void* to, const void* from, std::int64_t bytes) {
  if (bytes > 0 && to != from) std::memcpy(to, from, static_cast<std::size_t>(bytes));
}

void count(const MpiGroup& group, std::int64_t bytes, int to) {
  Traffic& t = group.runtime->traffic;
  (group.near[static_cast<std::size_t>(to)] ? t.messages_inside : t.messages_between) += 1;
  (group.near[static_cast<std::size_t>(to)] ? t.bytes_inside : t.bytes_between) += bytes;
}

}  // namespace

void MessagesTask::send(const void* data, std::int64_t bytes, int to) {
  in_pieces(bytes, [&](std::int64_t begin, int n) {
    check(MPI_Isend(at(data, begin), n, MPI_BYTE, to, tag_, group_.comm, next()));
    count(group_, n, to);
  });
}

void MessagesTask::receive(void* data, std::int64_t bytes, int from) {
  in_pieces(bytes, [&](std::int64_t begin, int n) {
    check(MPI_Irecv(at(data, begin), n, MPI_BYTE, from, tag_, group_.comm, next()));
  });
}

namespace {

class AllToAll final : public MessagesTask {
 public:
  AllToAll(const MpiGroup& group, int tag, const void* send_data, std::span<const std::int64_t> send_bytes,
           void* receive_data, std::span<const std::int64_t> receive_bytes, std::string what)
      : MessagesTask(group, tag, std::move(what)) {
    const std::vector<std::int64_t> from = offsets(receive_bytes), to = offsets(send_bytes);
    const auto me = static_cast<std::size_t>(group.rank);
    for_each_other([&](int r) {
      receive(at(receive_data, from[static_cast<std::size_t>(r)]), receive_bytes[static_cast<std::size_t>(r)],
              r);
    });
    for_each_other([&](int r) {
      send(at(send_data, to[static_cast<std::size_t>(r)]), send_bytes[static_cast<std::size_t>(r)], r);
    });
    MOE_CHECK(send_bytes[me] == receive_bytes[me]);
    copy_bytes(at(receive_data, from[me]), at(send_data, to[me]), send_bytes[me]);
  }

 private:
  static std::vector<std::int64_t> offsets(std::span<const std::int64_t> bytes) {
    std::vector<std::int64_t> offsets(bytes.size());
    for (std::size_t r = 1; r < bytes.size(); ++r) offsets[r] = offsets[r - 1] + bytes[r - 1];
    return offsets;
  }
};

class AllGather final : public MessagesTask {
 public:
  AllGather(const MpiGroup& group, int tag, const void* mine, std::int64_t bytes, void* all, std::string what)
      : MessagesTask(group, tag, std::move(what)) {
    std::byte* own = at(all, bytes * group.rank);
    copy_bytes(own, mine, bytes);
    if (bytes * group.size <= kSmallBytes) {
      check(MPI_Iallgather(MPI_IN_PLACE, 0, MPI_BYTE, all, static_cast<int>(bytes), MPI_BYTE, group.comm,
                           next()));
      for_each_other([&](int r) { count(group, bytes, r); });
      return;
    }
    for_each_other([&](int r) { receive(at(all, bytes * r), bytes, r); });
    for_each_other([&](int r) { send(own, bytes, r); });
  }
};

/// Everybody receives one part of all ranks' values, reduces it in the order of ranks, and goes on from
/// there.
class ReducePart : public MessagesTask {
 public:
  ReducePart(const MpiGroup& group, int tag, Combine combine, std::int64_t width, std::string what)
      : MessagesTask(group, tag, std::move(what)), combine_(combine), width_(width) {}

  bool advance() final {
    if (!RequestsTask::advance()) return false;
    if (finished_) return true;
    requests_.clear();
    for (int r = 1; r < group_.size; ++r) combine_(block(0), block(r), n_);
    finished_ = true;
    use_result(block(0));
    return RequestsTask::advance();
  }

 protected:
  // own: this rank's values of its part, n elements; part(r): rank r's part of them and its bytes.
  template <class Part>
  void begin(const void* own, std::int64_t n, const Part& part) {
    n_ = n;
    blocks_.resize(static_cast<std::size_t>(n * width_ * group_.size));
    copy_bytes(block(group_.rank), own, n * width_);
    for_each_other([&](int r) { receive(block(r), n * width_, r); });
    for_each_other([&](int r) {
      const auto [data, bytes] = part(r);
      send(data, bytes, r);
    });
  }
  virtual void use_result(const void* result) = 0;
  Combine combine_;
  std::int64_t width_, n_ = 0;

 private:
  std::byte* block(int r) { return blocks_.data() + n_ * width_ * r; }
  std::vector<std::byte> blocks_;
  bool finished_ = false;
};

class AllReduce final : public ReducePart {
 public:
  AllReduce(const MpiGroup& group, int tag, void* values, std::int64_t n, std::int64_t width, Combine combine,
            std::string what)
      : ReducePart(group, tag, combine, width, std::move(what)), values_(values), all_(n) {
    begin(data(group.rank), part(group.rank).size(),
          [&](int r) { return std::pair(data(r), part(r).size() * width_); });
  }

 private:
  IndexRange part(int r) const { return part_of(all_, group_.size, r); }
  std::byte* data(int r) const { return at(values_, part(r).begin * width_); }
  void use_result(const void* result) override {
    const std::int64_t bytes = part(group_.rank).size() * width_;
    copy_bytes(data(group_.rank), result, bytes);
    for_each_other([&](int r) { receive(data(r), part(r).size() * width_, r); });
    for_each_other([&](int r) { send(data(group_.rank), bytes, r); });
  }
  void* values_;
  std::int64_t all_;
};

class SmallAllReduce final : public RequestsTask {
 public:
  SmallAllReduce(const MpiGroup& group, void* values, std::int64_t n, std::int64_t width, Combine combine,
                 std::string what)
      : RequestsTask(*group.runtime, std::move(what)),
        values_(values),
        n_(n),
        width_(width),
        combine_(combine),
        size_(group.size),
        blocks_(static_cast<std::size_t>(n * width * group.size)) {
    const int bytes = static_cast<int>(n * width);
    check(MPI_Iallgather(values, bytes, MPI_BYTE, blocks_.data(), bytes, MPI_BYTE, group.comm, next()));
    for (int r = 0; r < size_; ++r)
      if (r != group.rank) count(group, bytes, r);
  }
  bool advance() override {
    if (!RequestsTask::advance()) return false;
    for (int r = 1; r < size_; ++r) combine_(blocks_.data(), at(blocks_.data(), n_ * width_ * r), n_);
    copy_bytes(values_, blocks_.data(), n_ * width_);
    return true;
  }

 private:
  void* values_;
  std::int64_t n_, width_;
  Combine combine_;
  int size_;
  std::vector<std::byte> blocks_;
};

class ReduceScatter final : public ReducePart {
 public:
  ReduceScatter(const MpiGroup& group, int tag, const float* all, float* mine, std::int64_t n,
                std::string what)
      : ReducePart(group, tag, add_elements<float>, sizeof(float), std::move(what)), mine_(mine) {
    begin(all + n * group.rank, n,
          [&](int r) { return std::pair(all + n * r, n * static_cast<std::int64_t>(sizeof(float))); });
  }

 private:
  void use_result(const void* result) override { copy_bytes(mine_, result, n_ * width_); }
  float* mine_;
};

}  // namespace

std::shared_ptr<Operation> mpi_all_to_all(const MpiGroup& group, int tag, const void* send,
                                          std::span<const std::int64_t> send_bytes, void* receive,
                                          std::span<const std::int64_t> receive_bytes, std::string what) {
  return std::make_shared<AllToAll>(group, tag, send, send_bytes, receive, receive_bytes, std::move(what));
}

std::shared_ptr<Operation> mpi_all_gather(const MpiGroup& group, int tag, const void* mine,
                                          std::int64_t bytes, void* all, std::string what) {
  return std::make_shared<AllGather>(group, tag, mine, bytes, all, std::move(what));
}

std::shared_ptr<Operation> mpi_all_reduce(const MpiGroup& group, int tag, void* values, std::int64_t n,
                                          std::int64_t width, Combine combine, std::string what) {
  if (n * width * group.size <= kSmallBytes)
    return std::make_shared<SmallAllReduce>(group, values, n, width, combine, std::move(what));
  return std::make_shared<AllReduce>(group, tag, values, n, width, combine, std::move(what));
}

std::shared_ptr<Operation> mpi_reduce_scatter(const MpiGroup& group, int tag, const float* all, float* mine,
                                              std::int64_t n, std::string what) {
  return std::make_shared<ReduceScatter>(group, tag, all, mine, n, std::move(what));
}

std::shared_ptr<Operation> mpi_broadcast(const MpiGroup& group, void* data, std::int64_t bytes, int root,
                                         std::string what) {
  const auto task = std::make_shared<RequestsTask>(*group.runtime, std::move(what));
  in_pieces(bytes, [&](std::int64_t begin, int n) {
    task->check(MPI_Ibcast(at(data, begin), n, MPI_BYTE, root, group.comm, task->next()));
    for (int r = 0; r < group.size && group.rank == root; ++r)
      if (r != root) count(group, n, r);
  });
  return task;
}

std::shared_ptr<Operation> mpi_barrier(const MpiGroup& group, std::string what) {
  const auto task = std::make_shared<RequestsTask>(*group.runtime, std::move(what));
  task->check(MPI_Ibarrier(group.comm, task->next()));
  return task;
}

}  // namespace moe

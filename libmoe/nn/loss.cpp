#include "libmoe/nn/loss.h"

#include <algorithm>
#include <array>

namespace moe {
// Every block reads the table and reads and writes its gradient, so blocks should be large;
// the block of logits should stay near the cache.
std::int64_t loss_block_rows(std::int64_t n_vocabulary) {
  constexpr std::int64_t kElements = std::int64_t{8} << 20;
  return std::clamp<std::int64_t>(kElements / std::max<std::int64_t>(n_vocabulary, 1), 64, 1024);
}

namespace {

/// Rows of all data ranks in blocks: rank r's rows [begin, end) of every block lie together, filled up with
/// rows that do not count where it has fewer.
class Rows {
 public:
  Rows(Stream& stream, const Table& table, const std::vector<std::int32_t>& labels)
      : data_(table.groups().data), n_ranks_(data_ == nullptr ? 1 : data_->size()) {
    std::vector<std::int32_t> all = labels;
    n_ = static_cast<std::int64_t>(labels.size());
    if (data_ != nullptr) {
      std::array<std::int64_t, 1> most{n_};
      data_->all_reduce(Reduce::max, std::span<std::int64_t>(most));
      n_ = most[0];
      all.resize(static_cast<std::size_t>(n_), kernels::kNotCounted);
      const Tensor mine = Tensor::from_host<std::int32_t>(stream, all, {n_});
      const Tensor gathered(stream.device(), {n_ranks_ * n_}, DType::i32);
      data_->all_gather(stream, mine, gathered);
      all = to_host<std::int32_t>(stream, gathered);
    }
    block_ = std::clamp<std::int64_t>(loss_block_rows(table.value().rows()) / n_ranks_, 1,
                                      std::max<std::int64_t>(n_, 1));
    std::vector<std::int32_t> here;
    for (std::int64_t begin = 0; begin < n_; begin += block_)
      for (std::int64_t r = 0; r < n_ranks_; ++r)
        for (std::int64_t t = begin; t < std::min(begin + block_, n_); ++t)
          here.push_back(place(table, all[static_cast<std::size_t>(r * n_ + t)]));
    labels_ = Tensor::from_host<std::int32_t>(stream, here, {n_ranks_ * n_});
  }
  std::int64_t n() const { return n_; }  // of the rank that has most
  std::int64_t n_ranks() const { return n_ranks_; }
  std::int64_t block() const { return block_; }
  bool of_others() const { return data_ != nullptr; }
  /// [ranks * n()] i32, block by block: within this rank's part of the vocabulary.
  const TensorView& labels() const { return labels_; }

  /// [ranks * (end - begin),D] of x: [T,D]; `gathered` is its memory with several ranks.
  TensorView gather(Stream& stream, const TensorView& x, std::int64_t begin, std::int64_t end,
                    const TensorView& gathered) const {
    if (data_ == nullptr) return x.slice(begin, end);
    const std::int64_t n = end - begin, here = std::clamp<std::int64_t>(x.rows() - begin, 0, n);
    const TensorView own = gathered.slice(data_->rank() * n, (data_->rank() + 1) * n);
    if (here > 0) stream.copy(own.data, x.slice(begin, begin + here).data, here * row_bytes(x));
    if (here < n) ops::fill(stream, 0, own.slice(here, n));
    const TensorView all = gathered.slice(0, n_ranks_ * n);
    data_->all_gather(stream, own, all);
    return all;
  }
  /// dx[begin,end) = the sum over data ranks of what they have for it in all: [ranks * (end - begin),D].
  void scatter(Stream& stream, const TensorView& all, std::int64_t begin, std::int64_t end,
               const TensorView& dx) const {
    const std::int64_t n = end - begin, here = std::clamp<std::int64_t>(dx.rows() - begin, 0, n);
    const TensorView own = all.slice(data_->rank() * n, (data_->rank() + 1) * n);
    data_->reduce_scatter(stream, all, own);
    if (here > 0) stream.copy(dx.slice(begin, begin + here).data, own.data, here * row_bytes(dx));
  }
  /// The sum over this rank's own rows of values: [ranks * n()], block by block.
  double own_sum(Stream& stream, const TensorView& values, std::int64_t n_own) const {
    const std::vector<float> all = to_host<float>(stream, values);
    double sum = 0;
    for (std::int64_t begin = 0; begin < n_own; begin += block_) {
      const std::int64_t n = std::min(begin + block_, n_) - begin;
      const std::int64_t first = n_ranks_ * begin + (of_others() ? data_->rank() * n : 0);
      for (std::int64_t i = first; i < first + std::min(n, n_own - begin); ++i)
        sum += all[static_cast<std::size_t>(i)];
    }
    return sum;
  }

 private:
  static std::int64_t row_bytes(const TensorView& x) {
    return x.shape[1] * static_cast<std::int64_t>(size_of(x.dtype));
  }
  static std::int32_t place(const Table& table, std::int32_t label) {
    if (label < 0) return kernels::kNotCounted;
    if (table.partition().part_of(label) != table.part()) return kernels::kInAnotherPart;
    return static_cast<std::int32_t>(table.partition().local(label));
  }
  Communicator* data_;
  std::int64_t n_ranks_, n_ = 0, block_ = 1;
  Tensor labels_;
};

struct Smoothing {
  float share, dloss;
};

// Losses of rows from this rank's columns of their logits, which become the gradient.
void cross_entropy(Stream& stream, const Table& table, const TensorView& logits, const TensorView& labels,
                   const Smoothing& smoothing, const TensorView& loss, const TensorView& nll) {
  if (!table.divided())
    return ops::cross_entropy(stream, logits, labels, smoothing.share, smoothing.dloss, loss, nll);
  const std::int64_t n = logits.rows(), n_parts = table.partition().n_parts();
  const Tensor mine(stream.device(), {n, 4}), all(stream.device(), {n_parts * n, 4});
  ops::softmax_part(stream, logits, labels, mine);
  table.groups().all->all_gather(stream, mine, all);
  ops::cross_entropy_of_parts(stream, {.logits = logits,
                                       .labels = labels,
                                       .sums = all,
                                       .part = table.part(),
                                       .n_all = table.n_rows(),
                                       .smoothing = smoothing.share,
                                       .dloss = smoothing.dloss,
                                       .loss = loss,
                                       .nll = nll});
}

}  // namespace

LossSums projected_cross_entropy(Stream& stream, const Pass& pass, const TensorView& x, const Table& table,
                                 const std::vector<std::int32_t>& labels, const LossOptions& options,
                                 const TensorView& dx) {
  const std::int64_t t = x.rows(), d = x.shape[1], v = table.value().rows();
  MOE_CHECK(static_cast<std::int64_t>(labels.size()) == t, "{} labels of {} rows", labels.size(), t);
  Device& device = stream.device();
  const bool backward = options.backward && options.scale != 0;
  if (options.backward && !backward) ops::fill(stream, 0, dx);
  const Rows rows(stream, table, labels);
  const std::int64_t n_ranks = rows.n_ranks(), block = rows.block(), n_all = n_ranks * rows.n();
  const Tensor logits(device, {n_ranks * block, v});
  const Tensor gathered(device, {rows.of_others() ? n_ranks * block : 0, d});
  const Tensor all_dx(device, {rows.of_others() && backward ? n_ranks * block : 0, d});
  const Tensor loss(device, {n_all}), nll(device, {n_all});
  const Smoothing smoothing{static_cast<float>(options.label_smoothing),
                            backward ? static_cast<float>(options.scale) : 0.0f};
  for (std::int64_t begin = 0; begin < rows.n(); begin += block) {
    const std::int64_t end = std::min(begin + block, rows.n()), first = n_ranks * begin, last = n_ranks * end;
    const TensorView block_x = rows.gather(stream, x, begin, end, gathered),
                     block_logits = logits.view().slice(0, last - first);
    ops::gemm(stream, {.a = block_x,
                       .b = WeightView(table.value()).transposed(),
                       .c = block_logits,
                       .product = pass.product});
    cross_entropy(stream, table, block_logits, rows.labels().slice(first, last), smoothing,
                  loss.view().slice(first, last), nll.view().slice(first, last));
    if (!backward) continue;
    const TensorView block_dx =
        rows.of_others() ? all_dx.view().slice(0, last - first) : dx.slice(begin, end);
    const std::array<ops::Gemm, 2> products{
        ops::Gemm{.a = block_logits,
                  .b = block_x,
                  .c = table.gradient(),
                  .trans_a = true,
                  .accumulate = true,
                  .product = pass.product},
        ops::Gemm{.a = block_logits, .b = table.value(), .c = block_dx, .product = pass.product}};
    ops::gemm(stream, products);
    if (rows.of_others()) rows.scatter(stream, block_dx, begin, end, dx);
  }
  if (backward && table.groups().tensor != nullptr)
    table.groups().tensor->all_reduce(stream, Reduce::sum, dx);
  return {rows.own_sum(stream, loss, t), rows.own_sum(stream, nll, t),
          std::count_if(labels.begin(), labels.end(), [](std::int32_t label) { return label >= 0; })};
}

}  // namespace moe

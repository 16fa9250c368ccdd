#include "libmoe/core/tensor.h"

#include <utility>

namespace moe {

Shape::Shape(std::initializer_list<std::int64_t> dims) {
  MOE_CHECK(dims.size() <= dims_.size());
  for (std::int64_t d : dims) dims_[static_cast<std::size_t>(rank_++)] = d;
}

std::int64_t Shape::n_elements() const {
  std::int64_t n = 1;
  for (int i = 0; i < rank_; ++i) n *= (*this)[i];
  return n;
}

std::string Shape::text() const {
  return fmt::format("[{}]", fmt::join(dims_.begin(), dims_.begin() + rank_, ","));
}

namespace {
void* offset(const TensorView& v, std::int64_t elements) {
  return static_cast<char*>(v.data) + elements * static_cast<std::int64_t>(size_of(v.dtype));
}
}  // namespace

TensorView TensorView::slice(std::int64_t begin, std::int64_t end) const {
  MOE_CHECK(0 <= begin && begin <= end && end <= rows(), "rows {} to {} of {}", begin, end, rows());
  TensorView v = *this;
  v.data = offset(*this, begin * row_stride);
  v.shape[0] = end - begin;
  return v;
}

TensorView TensorView::columns(std::int64_t begin, std::int64_t end) const {
  MOE_CHECK(shape.rank() == 2 && 0 <= begin && begin <= end && end <= shape[1]);
  TensorView v = *this;
  v.data = offset(*this, begin);
  v.shape[1] = end - begin;
  return v;
}

TensorView TensorView::at(std::int64_t i) const {
  MOE_CHECK(shape.rank() >= 1 && 0 <= i && i < shape[0]);
  TensorView v = *this;
  v.data = offset(*this, i * row_stride);
  switch (shape.rank()) {
    case 1:
      v.shape = Shape{};
      break;
    case 2:
      v.shape = Shape{shape[1]};
      break;
    case 3:
      v.shape = Shape{shape[1], shape[2]};
      break;
    default:
      v.shape = Shape{shape[1], shape[2], shape[3]};
  }
  v.row_stride = v.row_elements();
  return v;
}

TensorView TensorView::reshape(Shape new_shape) const {
  MOE_CHECK(contiguous() && new_shape.n_elements() == shape.n_elements(), "{} as {}", shape.text(),
            new_shape.text());
  TensorView v = *this;
  v.shape = new_shape;
  v.row_stride = v.row_elements();
  return v;
}

Tensor::Tensor(Device& device, Shape shape, DType dtype) {
  view_.dtype = dtype;
  view_.shape = shape;
  view_.row_stride = view_.row_elements();
  view_.device = &device;
  bytes_ = view_.n_bytes();
  view_.data = device.allocate(bytes_);
}

Tensor Tensor::zeros(Stream& stream, Shape shape, DType dtype) {
  Tensor tensor(stream.device(), shape, dtype);
  stream.fill_zero(tensor.view_.data, tensor.bytes_);
  return tensor;
}

Tensor::~Tensor() {
  if (view_.data != nullptr) view_.device->release(view_.data, bytes_);
}

Tensor::Tensor(Tensor&& other) noexcept
    : view_(std::exchange(other.view_, {})), bytes_(std::exchange(other.bytes_, 0)) {}

Tensor& Tensor::operator=(Tensor&& other) noexcept {
  std::swap(view_, other.view_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace moe

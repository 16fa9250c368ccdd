// Tensor owns memory on a device; TensorView borrows it. Row-major, outermost dimension first.
#pragma once
#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "libmoe/base/error.h"
#include "libmoe/core/device.h"

namespace moe {

using kernels::DType;

/// Up to four dimensions.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims);
  int rank() const { return rank_; }
  std::int64_t operator[](int i) const { return dims_[static_cast<std::size_t>(i)]; }
  std::int64_t& operator[](int i) { return dims_[static_cast<std::size_t>(i)]; }
  std::int64_t n_elements() const;
  std::vector<std::int64_t> dims() const { return {dims_.begin(), dims_.begin() + rank_}; }
  bool operator==(const Shape&) const = default;
  std::string text() const;  // "[3,4]"

 private:
  std::array<std::int64_t, 4> dims_{};
  int rank_ = 0;
};

/// Never owns. Rows may be further apart than they are long (row_stride), everything inside a row is
/// contiguous.
struct TensorView {
  void* data = nullptr;
  DType dtype = DType::f32;
  Shape shape;
  std::int64_t row_stride = 0;  // elements from one index of dimension 0 to the next
  Device* device = nullptr;

  explicit operator bool() const { return data != nullptr; }
  std::int64_t rows() const { return shape.rank() == 0 ? 1 : shape[0]; }
  std::int64_t row_elements() const { return rows() == 0 ? 0 : shape.n_elements() / rows(); }
  bool contiguous() const { return rows() <= 1 || row_stride == row_elements(); }
  std::int64_t n_bytes() const { return shape.n_elements() * static_cast<std::int64_t>(size_of(dtype)); }

  float* f32() const {
    MOE_CHECK(dtype == DType::f32 || !data);
    return static_cast<float*>(data);
  }
  std::int32_t* i32() const {
    MOE_CHECK(dtype == DType::i32 || !data);
    return static_cast<std::int32_t*>(data);
  }

  /// Rows [begin, end) of dimension 0.
  TensorView slice(std::int64_t begin, std::int64_t end) const;
  /// Columns [begin, end) of a matrix.
  TensorView columns(std::int64_t begin, std::int64_t end) const;
  /// Index i of dimension 0, one dimension less: [E,K,N] -> [K,N].
  TensorView at(std::int64_t i) const;
  /// The same elements under another shape; contiguous views only.
  TensorView reshape(Shape new_shape) const;
};

/// Owns; movable, not copyable. Contents are not cleared unless asked.
class Tensor {
 public:
  Tensor() = default;
  Tensor(Device& device, Shape shape, DType dtype = DType::f32);
  static Tensor zeros(Stream& stream, Shape shape, DType dtype = DType::f32);
  /// Copies host data to the device; returns when the copy is done.
  template <class T>
  static Tensor from_host(Stream& stream, std::span<const T> values, Shape shape);
  ~Tensor();
  Tensor(Tensor&& other) noexcept;
  Tensor& operator=(Tensor&& other) noexcept;

  explicit operator bool() const { return static_cast<bool>(view_); }
  const TensorView& view() const { return view_; }
  operator const TensorView&() const { return view_; }  // NOLINT: a tensor is usable wherever a view is
  const Shape& shape() const { return view_.shape; }

 private:
  TensorView view_;
  std::int64_t bytes_ = 0;
};

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<std::int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<std::int64_t> {
  static constexpr DType value = DType::i64;
};
template <>
struct DTypeOf<std::uint8_t> {
  static constexpr DType value = DType::u8;
};

/// The elements on the host, after all work of the stream. Contiguous views only.
template <class T>
std::vector<T> to_host(Stream& stream, const TensorView& view) {
  MOE_CHECK(view.dtype == DTypeOf<T>::value && view.contiguous());
  std::vector<T> values(static_cast<std::size_t>(view.shape.n_elements()));
  stream.copy(values.data(), view.data, view.n_bytes());
  stream.synchronize();
  return values;
}

/// Overwrites a contiguous view with host values.
template <class T>
void copy_from_host(Stream& stream, std::span<const T> values, const TensorView& view) {
  MOE_CHECK(view.dtype == DTypeOf<T>::value && view.contiguous() &&
            static_cast<std::int64_t>(values.size()) == view.shape.n_elements());
  stream.copy(view.data, values.data(), view.n_bytes());
  stream.synchronize();
}

template <class T>
Tensor Tensor::from_host(Stream& stream, std::span<const T> values, Shape shape) {
  Tensor tensor(stream.device(), shape, DTypeOf<T>::value);
  copy_from_host(stream, values, tensor.view());
  return tensor;
}

}  // namespace moe

#include "libmoe/nn/parameter.h"

#include <algorithm>
#include <map>

#include "libmoe/core/ops.h"

namespace moe {
namespace {

constexpr std::int64_t kAlignment = 16;  // elements: a parameter begins on a cache line

std::int64_t round_up(std::int64_t n, std::int64_t to) {
  return (n + to - 1) / to * to;
}

// Points the parameters' views into the buffer, or nowhere.
void bind(const ParameterGroup& group, const TensorView& buffer, TensorView Parameter::*view) {
  for (Parameter* p : group.parameters) (p->*view).data = buffer ? buffer.f32() + p->offset : nullptr;
}

void clear(Stream& stream, const TensorView& x) {
  stream.fill_zero(x.data, x.n_bytes());
}

// Both copies of the matrices for which wanted(i).
template <class Wanted>
void pack(Stream& stream, const Parameter& p, const Wanted& wanted) {
  std::vector<ops::Packing> packings;
  for (std::int64_t i = 0; i < p.n_matrices(); ++i) {
    if (!wanted(static_cast<std::size_t>(i))) continue;
    const WeightView w(p.matrix(i));
    packings.push_back({w, p.packed.at(i)});
    packings.push_back({w.transposed(), p.packed_transposed.at(i)});
  }
  ops::pack_weights(stream, packings);
}

}  // namespace

std::int64_t Parameter::packed_bytes(WeightType type) const {
  const int last = value.shape.rank() - 1;
  const std::int64_t n_inputs = value.shape[last - 1], n_outputs = value.shape[last];
  return n_matrices() *
         (WeightView::bytes_of(type, n_inputs, n_outputs) + WeightView::bytes_of(type, n_outputs, n_inputs));
}

void Parameter::for_each_run(IndexRange range,
                             const std::function<void(std::int64_t, std::int64_t, std::int64_t)>& run) const {
  // Axes behind the last sliced one lie together; the sliced one gives runs of whole ranges.
  const Shape whole_shape = spec.shape();
  int last = whole_shape.rank() - 1;
  while (last > 0 && slice.axis[static_cast<std::size_t>(last)].empty()) --last;
  std::int64_t inner = 1;
  for (int a = last + 1; a < whole_shape.rank(); ++a) inner *= whole_shape[a];
  const auto visit = [&](const auto& self, int axis, std::int64_t local, std::int64_t whole) -> void {
    std::int64_t below_local = inner, below_whole = inner;  // elements of one index of this axis
    for (int a = axis + 1; a <= last; ++a) below_local *= value.shape[a], below_whole *= whole_shape[a];
    const auto& ranges = slice.axis[static_cast<std::size_t>(axis)];
    const std::vector<IndexRange> all{{0, whole_shape[axis]}};
    for (const IndexRange& r : ranges.empty() ? all : ranges) {
      if (axis == last) {
        const IndexRange part = intersection({local, local + r.size() * inner}, range);
        if (!part.empty()) run(part.begin, whole + r.begin * inner + part.begin - local, part.size());
        local += r.size() * inner;
        continue;
      }
      for (std::int64_t i = r.begin; i < r.end; ++i, local += below_local)
        if (!intersection({local, local + below_local}, range).empty())
          self(self, axis + 1, local, whole + i * below_whole);
    }
  };
  visit(visit, 0, 0, 0);
}

int Sharding::n_copies(Copies copies) const {
  return copies == Copies::data ? dense_copies : copies == Copies::expert_data ? expert_copies : 1;
}

int Sharding::index(Copies copies) const {
  return copies == Copies::data ? dense_index : copies == Copies::expert_data ? expert_index : 0;
}

void ParameterGroup::bind_values(const TensorView& buffer) {
  values = buffer;
  bind(*this, buffer, &Parameter::value);
}

void ParameterGroup::bind_gradients(const TensorView& buffer) {
  gradients = buffer;
  bind(*this, buffer, &Parameter::gradient);
}

Parameter& ParameterList::add(ParameterSpec spec, const Slice& slice) {
  MOE_CHECK(groups_.empty(), "{} comes after allocate()", spec.name);
  MOE_CHECK(spec.axis_of(AxisRole::experts).value_or(0) == 0, "{}: experts are the outermost axis",
            spec.name);
  auto parameter = std::make_unique<Parameter>();
  const Shape local = slice.local_shape(spec.shape());
  const std::int64_t row = local[0] == 0 ? 0 : local.n_elements() / local[0];
  parameter->value = {.shape = local, .row_stride = row};
  parameter->gradient = parameter->value;
  parameter->copies = spec.per_expert() ? Copies::expert_data : Copies::data;
  parameter->unit = unit_;
  parameter->slice = slice;
  parameter->spec = std::move(spec);
  parameters_.push_back(std::move(parameter));
  return *parameters_.back();
}

void ParameterList::lay_out(const Sharding& sharding) {
  MOE_CHECK(groups_.empty(), "laid out twice");
  sharding_ = sharding;
  std::map<std::pair<int, Copies>, ParameterGroup> by_unit;
  for (const auto& p : parameters_) {
    if (p->held != WeightType::f32) continue;
    ParameterGroup& group = by_unit[{p->unit, p->copies}];
    group.unit = p->unit;
    group.copies = p->copies;
    p->offset = group.n_elements;
    group.n_elements += round_up(p->value.shape.n_elements(), kAlignment);
    group.parameters.push_back(p.get());
  }
  for (auto& [key, group] : by_unit) {
    group.n_copies = sharding.n_copies(group.copies);
    group.n_elements = round_up(group.n_elements, kAlignment * group.n_copies);
    group.share = part_of(group.n_elements, group.n_copies, sharding.index(group.copies));
    group.owned = sharding.zero_stage >= 1 ? group.share : IndexRange{0, group.n_elements};
    for (Parameter* p : group.parameters) p->group = groups_.size();
    groups_.push_back(std::move(group));
  }
}

void ParameterList::allocate(Device& device, const Sharding& sharding) {
  lay_out(sharding);
  for (const auto& p : parameters_) {
    if (p->held == WeightType::f32) continue;
    MOE_CHECK(p->spec.product && p->slice.whole(), "{} is held packed", p->spec.name);
    const int last = p->value.shape.rank() - 1;
    p->packed =
        PackedMatrices(device, p->held, p->n_matrices(), p->value.shape[last - 1], p->value.shape[last]);
  }
  for (ParameterGroup& group : groups_) {
    for (Parameter* p : group.parameters) {
      p->value.device = p->gradient.device = &device;
      p->touched.assign(static_cast<std::size_t>(p->n_experts()), 0);
    }
    const bool whole = sharding.zero_stage < 3 || group.n_copies == 1;
    Tensor& values = values_.emplace_back(device, Shape{whole ? group.n_elements : group.share.size()});
    group.owned_values = whole ? values.view().slice(group.owned.begin, group.owned.end) : values.view();
    if (whole) group.bind_values(values);
  }
}

void ParameterList::make_gradients(Stream& stream) {
  MOE_CHECK(parameters_.empty() || !groups_.empty(), "make_gradients() before allocate()");
  if (gradients_.empty())
    for (ParameterGroup& group : groups_) {
      const bool whole = sharding_.zero_stage < 2 || group.n_copies == 1;
      Tensor& gradients =
          gradients_.emplace_back(stream.device(), Shape{whole ? group.n_elements : group.share.size()});
      group.owned_gradients =
          whole ? gradients.view().slice(group.owned.begin, group.owned.end) : gradients.view();
      if (whole) group.bind_gradients(gradients);
    }
  clear_gradients(stream);
}

void ParameterList::clear_gradients(Stream& stream) {
  for (const Tensor& t : gradients_) clear(stream, t.view());
  clear_marks();
}

void ParameterList::clear_marks() {
  for (auto& p : parameters_) {
    std::fill(p->touched.begin(), p->touched.end(), std::uint8_t{0});
    p->written = 0;
  }
}

void ParameterList::begin_gradients(Stream& stream) {
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    if (!groups_[g].gradients) {
      clear(stream, gradients_[g].view());
      continue;
    }
    for (const Parameter* p : groups_[g].parameters)
      if (!p->spec.product) clear(stream, p->gradient);
  }
  clear_marks();
}

void ParameterList::finish_gradients(Stream& stream, const ParameterGroup& group) {
  for (const Parameter* p : group.parameters) {
    if (!p->spec.product) continue;
    if (!p->spec.per_expert() && !p->written) clear(stream, p->gradient);
    for (std::size_t e = 0; e < p->touched.size(); ++e)
      if (!p->touched[e]) clear(stream, p->gradient.at(static_cast<std::int64_t>(e)));
  }
}

void ParameterList::keep_packed(Stream& stream, WeightType type) {
  keeps_packed_ = true;
  for (const auto& p : parameters_) {
    if (!p->spec.product) continue;
    MOE_CHECK(p->value, "packed copies of values that are elsewhere");
    const WeightView w(p->matrix());
    p->packed = PackedMatrices(stream.device(), type, p->n_matrices(), w.n_inputs(), w.n_outputs());
    p->packed_transposed =
        PackedMatrices(stream.device(), type, p->n_matrices(), w.n_outputs(), w.n_inputs());
    pack(stream, *p, [](std::size_t) { return true; });
  }
}

void ParameterList::pack_held(Stream& stream, const Parameter& p, std::int64_t i,
                              std::span<const float> values) const {
  const WeightView to = p.packed.at(i);
  const Tensor from = Tensor::from_host<float>(stream, values, {to.n_inputs(), to.n_outputs()});
  const ops::Packing packing{from, to};
  ops::pack_weights(stream, std::span(&packing, 1));
  stream.synchronize();
}

void ParameterList::pack_changed(Stream& stream) const {
  for (const auto& p : parameters_)
    if (p->packed && p->packed_transposed)
      pack(stream, *p, [&](std::size_t i) { return !p->spec.per_expert() || p->touched[i] != 0; });
}

IndexRange ParameterList::share_of(const Parameter& p) const {
  if (!p.spec.divided_over_tensor() && sharding_.tensor_index > 0)
    return {};  // a copy of another tensor rank's
  return intersection(p.range(), group_of(p).share);
}

Parameter* ParameterList::find(const std::string& name) const {
  const auto it = std::find_if(parameters_.begin(), parameters_.end(),
                               [&](const auto& p) { return p->spec.name == name; });
  return it == parameters_.end() ? nullptr : it->get();
}

std::int64_t ParameterList::n_elements() const {
  std::int64_t n = 0;
  for (const auto& p : parameters_) n += p->value.shape.n_elements();
  return n;
}

}  // namespace moe

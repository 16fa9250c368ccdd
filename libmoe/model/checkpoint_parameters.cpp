// Parameters and the optimizer's memory of them, between a model on a device and whole tensors on the host.
#include <algorithm>
#include <map>
#include <set>

#include "libmoe/base/error.h"
#include "libmoe/model/checkpoint.h"
#include "libmoe/model/checkpoint_share.h"

namespace moe {
namespace {

// The elements of `range`, which lies in the group's part of the parameter, from a whole tensor.
void put(Stream& stream, const Parameter& p, IndexRange range, const std::vector<float>& whole,
         const TensorView& to) {
  if (range.empty()) return;
  std::vector<float> part(static_cast<std::size_t>(range.size()));
  const std::int64_t first = range.begin - p.offset;
  p.for_each_run({first, range.end - p.offset}, [&](std::int64_t local, std::int64_t from, std::int64_t n) {
    std::copy_n(whole.begin() + from, n, part.begin() + (local - first));
  });
  copy_from_host<float>(stream, part, to);
}

// The elements of `range` at their places in an otherwise zero whole tensor.
HostTensor take(Stream& stream, const Parameter& p, const std::string& name, IndexRange range,
                const TensorView& from) {
  HostTensor tensor{name, p.spec.shape().dims(), {}};
  tensor.values.resize(static_cast<std::size_t>(p.spec.shape().n_elements()));
  if (range.empty()) return tensor;
  const std::vector<float> part = to_host<float>(stream, from);
  const std::int64_t first = range.begin - p.offset;
  p.for_each_run({first, range.end - p.offset}, [&](std::int64_t local, std::int64_t to, std::int64_t n) {
    std::copy_n(part.begin() + (local - first), n, tensor.values.begin() + to);
  });
  return tensor;
}

// Each element of the whole tensor is one rank's share: the sum over ranks is the tensor.
void add_over_ranks(Communicator& world, Stream& stream, HostTensor& tensor) {
  if (world.size() == 1) return;
  const Tensor device =
      Tensor::from_host<float>(stream, tensor.values, {static_cast<std::int64_t>(tensor.values.size())});
  world.all_reduce(stream, Reduce::sum, device);
  tensor.values = to_host<float>(stream, device);
}

template <class T>
using ByName = std::map<std::string, const HostArray<T>*>;

template <class T>
ByName<T> by_name(const std::vector<HostArray<T>>& tensors) {
  ByName<T> map;
  for (const HostArray<T>& t : tensors) map[t.name] = &t;
  return map;
}

template <class T>
const HostArray<T>& find(const ByName<T>& tensors, const std::string& name,
                         const std::vector<std::int64_t>& dims, const std::string& where) {
  const auto it = tensors.find(name);
  if (it == tensors.end() || it->second->dims != dims)
    bad_input("{}: the optimizer's '{}' {}; continue from its weights alone with --init-from", where, name,
              it == tensors.end() ? "is missing" : "has another shape");
  return *it->second;
}

}  // namespace

HostTensor download_parameter(Stream& stream, const Transformer& model, std::size_t index) {
  const ParameterList& list = model.parameters();
  const Parameter& p = *list.all()[index];
  const IndexRange range = list.share_of(p);
  HostTensor tensor = take(stream, p, p.spec.name, range,
                           range.empty() ? TensorView{} : list.group_of(p).owned_values_at(range));
  add_over_ranks(model.parts().grid->world(), stream, tensor);
  return tensor;
}

std::vector<HostTensor> download_parameters(Stream& stream, const Transformer& model) {
  std::vector<HostTensor> tensors;
  for (std::size_t i = 0; i < model.parameters().all().size(); ++i)
    tensors.push_back(download_parameter(stream, model, i));
  return tensors;
}

void upload_parameters(Stream& stream, const std::vector<HostTensor>& tensors, Transformer& model,
                       const std::string& where) {
  const ParameterList& list = model.parameters();
  std::set<std::string> done;
  for (const HostTensor& tensor : tensors) {
    const Parameter* p = list.find(tensor.name);
    if (!p) bad_input("{}: holds {}, which the model does not have", where, tensor.name);
    const auto wanted = p->spec.shape().dims();
    if (tensor.dims != wanted)
      bad_input("{}: {} has the shape [{}], and the model wants [{}]", where, tensor.name,
                fmt::join(tensor.dims, ","), fmt::join(wanted, ","));
    done.insert(tensor.name);
    if (p->held != WeightType::f32) {
      const std::span<const float> values = tensor.values;
      const std::size_t n = values.size() / static_cast<std::size_t>(p->n_matrices());
      for (std::int64_t i = 0; i < p->n_matrices(); ++i)
        list.pack_held(stream, *p, i, values.subspan(static_cast<std::size_t>(i) * n, n));
      continue;
    }
    const ParameterGroup& group = list.group_of(*p);
    const IndexRange range = group.values ? p->range() : group.owned_range(*p);
    if (!range.empty()) put(stream, *p, range, tensor.values, group.values_at(range));
  }
  for (const auto& p : list.all())
    if (!done.contains(p->spec.name)) bad_input("{}: {} is missing", where, p->spec.name);
}

void upload_moments(Stream& stream, const TrainingState& state, const Transformer& model,
                    const std::string& where, Adam& adam) {
  const ParameterList& list = model.parameters();
  const auto tensors = by_name(state.moments);
  const auto steps = by_name(state.expert_steps);
  for (std::size_t i = 0; i < list.all().size(); ++i) {
    const Parameter& p = *list.all()[i];
    const ParameterGroup& group = list.group_of(p);
    const Moments& moments = adam.moments()[p.group];
    const IndexRange range = group.owned_range(p);
    const std::vector<std::int64_t> dims = p.spec.shape().dims();
    for (const auto& [prefix, buffer] : {std::pair("m/", &moments.m), {"v/", &moments.v}}) {
      const HostTensor& tensor = find(tensors, prefix + p.spec.name, dims, where);
      if (!range.empty()) put(stream, p, range, tensor.values, group.owned_part(*buffer, range));
    }
    scatter_steps(find(steps, p.spec.name, {p.n_step_counts()}, where), p, where, adam.steps()[i]);
  }
}

}  // namespace moe

// Parameters between a model on a device and tensors on the host.
#include <set>

#include "libmoe/base/error.h"
#include "libmoe/model/checkpoint.h"

namespace moe {

namespace {

std::vector<std::int64_t> dims_of(const Shape& shape) {
  std::vector<std::int64_t> dims;
  for (int i = 0; i < shape.rank(); ++i) dims.push_back(shape[i]);
  return dims;
}

}  // namespace

std::vector<HostTensor> download_parameters(Stream& stream, const Transformer& model) {
  std::vector<HostTensor> tensors;
  for (const auto& parameter : model.parameters().all())
    tensors.push_back(
        {parameter->name, dims_of(parameter->value.shape()), to_host<float>(stream, parameter->value)});
  return tensors;
}

void upload_parameters(Stream& stream, const std::vector<HostTensor>& tensors, Transformer& model,
                       const std::string& where) {
  std::set<std::string> done;
  for (const HostTensor& tensor : tensors) {
    Parameter* parameter = model.parameters().find(tensor.name);
    if (!parameter) bad_input("{}: holds {}, which the model does not have", where, tensor.name);
    const auto wanted = dims_of(parameter->value.shape());
    if (tensor.dims != wanted)
      bad_input("{}: {} has the shape [{}], and the model wants [{}]", where, tensor.name,
                fmt::join(tensor.dims, ","), fmt::join(wanted, ","));
    copy_from_host<float>(stream, tensor.values, parameter->value);
    done.insert(tensor.name);
  }
  for (const auto& parameter : model.parameters().all())
    if (!done.contains(parameter->name)) bad_input("{}: {} is missing", where, parameter->name);
}

}  // namespace moe

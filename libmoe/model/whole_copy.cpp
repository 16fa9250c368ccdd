#include "libmoe/model/whole_copy.h"

#include "libmoe/model/checkpoint.h"

namespace moe {

bool holds_whole_model(const Transformer& model) {
  for (const auto& p : model.parameters().all())
    if (!p->slice.whole()) return false;
  for (const ParameterGroup& group : model.parameters().groups())
    if (!group.values) return false;
  return true;
}

Transformer whole_copy(Stream& stream, const Transformer& model) {
  Transformer copy(stream, model.config());
  for (std::size_t i = 0; i < model.parameters().all().size(); ++i)
    copy_from_host<float>(stream, download_parameter(stream, model, i).values,
                          copy.parameters().all()[i]->value);
  return copy;
}

}  // namespace moe

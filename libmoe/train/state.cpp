#include "libmoe/train/state.h"

#include <map>
#include <nlohmann/json.hpp>

#include "libmoe/base/error.h"

namespace moe {
namespace {

using Json = nlohmann::json;
using ByName = std::map<std::string, const HostTensor*>;

std::vector<std::int64_t> dims_of(const Shape& shape) {
  std::vector<std::int64_t> dims;
  for (int i = 0; i < shape.rank(); ++i) dims.push_back(shape[i]);
  return dims;
}

ByName by_name(const std::vector<HostTensor>& tensors) {
  ByName map;
  for (const HostTensor& t : tensors) map[t.name] = &t;
  return map;
}

const HostTensor& find(const ByName& tensors, const std::string& name, const std::vector<std::int64_t>& dims,
                       const std::string& where) {
  const auto it = tensors.find(name);
  if (it == tensors.end() || it->second->dims != dims)
    bad_input("{}: the optimizer's '{}' {}; continue from its weights alone with --init-from", where, name,
              it == tensors.end() ? "is missing" : "has another shape");
  return *it->second;
}

}  // namespace

std::string RunState::to_json() const {
  return Json{{"update", update},
              {"sentences", n_sentences},
              {"tokens", n_tokens},
              {"seconds", seconds},
              {"warmup_progress", warmup_progress},
              {"seed", seed},
              {"draws", cursor.n_draws},
              {"taken", cursor.n_taken},
              {"has_best", has_best},
              {"best_score", best_score},
              {"best_update", best_update},
              {"stalled", n_stalled},
              {"validated_update", validated_update},
              {"kept", kept}}
      .dump();
}

RunState RunState::from_json(const std::string& json, const std::string& where) {
  RunState s;
  try {
    const Json j = Json::parse(json);
    j.at("update").get_to(s.update);
    j.at("sentences").get_to(s.n_sentences);
    j.at("tokens").get_to(s.n_tokens);
    j.at("seconds").get_to(s.seconds);
    j.at("warmup_progress").get_to(s.warmup_progress);
    j.at("seed").get_to(s.seed);
    j.at("draws").get_to(s.cursor.n_draws);
    j.at("taken").get_to(s.cursor.n_taken);
    j.at("has_best").get_to(s.has_best);
    j.at("best_score").get_to(s.best_score);
    j.at("best_update").get_to(s.best_update);
    j.at("stalled").get_to(s.n_stalled);
    j.at("validated_update").get_to(s.validated_update);
    j.at("kept").get_to(s.kept);
  } catch (const Json::exception& e) {
    bad_input("{}: its training state cannot be read ({}); continue from its weights alone with --init-from",
              where, e.what());
  }
  bool sane = s.update >= 0 && s.cursor.n_draws >= 0 && s.seconds >= 0;
  for (std::int64_t n : s.cursor.n_taken) sane &= n >= 0;
  if (!sane) bad_input("{}: its training state holds negative counts", where);
  return s;
}

void download_moments(Stream& stream, const ParameterList& parameters, const Adam& adam,
                      TrainingState& state) {
  for (std::size_t i = 0; i < adam.moments().size(); ++i) {
    const std::string& name = parameters.all()[i]->name;
    const Moments& moments = adam.moments()[i];
    const std::vector<std::int64_t> dims = dims_of(moments.m.shape());
    state.moments.push_back({"m/" + name, dims, to_host<float>(stream, moments.m)});
    state.moments.push_back({"v/" + name, dims, to_host<float>(stream, moments.v)});
    state.expert_steps.push_back({name,
                                  {static_cast<std::int64_t>(moments.steps.size())},
                                  {moments.steps.begin(), moments.steps.end()}});
  }
}

void upload_moments(Stream& stream, const TrainingState& state, const ParameterList& parameters,
                    const std::string& where, Adam& adam) {
  const ByName tensors = by_name(state.moments), steps = by_name(state.expert_steps);
  for (std::size_t i = 0; i < adam.moments().size(); ++i) {
    const std::string& name = parameters.all()[i]->name;
    Moments& moments = adam.moments()[i];
    const std::vector<std::int64_t> dims = dims_of(moments.m.shape());
    copy_from_host<float>(stream, find(tensors, "m/" + name, dims, where).values, moments.m);
    copy_from_host<float>(stream, find(tensors, "v/" + name, dims, where).values, moments.v);
    const HostTensor& counts = find(steps, name, {static_cast<std::int64_t>(moments.steps.size())}, where);
    for (std::size_t e = 0; e < moments.steps.size(); ++e) {
      if (!(counts.values[e] >= 0 && counts.values[e] < 0x1p24f))
        bad_input("{}: {} steps of '{}' make no sense", where, counts.values[e], name);
      moments.steps[e] = static_cast<std::int64_t>(counts.values[e]);
    }
  }
}

}  // namespace moe

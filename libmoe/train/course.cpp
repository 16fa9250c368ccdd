#include "libmoe/train/course.h"

#include <algorithm>
#include <array>

#include "libmoe/base/error.h"

namespace moe {
namespace {

/// Options that change no result.
constexpr std::array kNoMatter{"output",
                               "force",
                               "log-json",
                               "log-every",
                               "dry-run",
                               "threads",
                               "recompute",
                               "overlap",
                               "tp",
                               "ep",
                               "zero-stage",
                               "expert-stages",
                               "partition-embedding"};
/// Options that name the models with which a run begins.
constexpr std::array kStarts{"init-from", "aggregate", "upcycle"};

template <class Names>
bool is_one_of(const std::string& name, const Names& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string shown(const std::string& value) {
  return value.empty() ? "not given" : value;
}

// They count at the beginning alone, and may be left out from then on.
void keep_starts(const std::map<std::string, std::string>& before, const std::string& path,
                 std::map<std::string, std::string>& course) {
  for (const char* name : kStarts) {
    const auto was = before.find(name);
    if (was == before.end()) continue;
    std::string& now = course[name];
    if (!now.empty() && now != was->second)
      usage_error(
          "--{} {}: the run in {} goes on and did not start from that{}; leave the option out, or start "
          "anew with --force or another --output",
          name, now, path, was->second.empty() ? "" : fmt::format(" but from {}", was->second));
    now = was->second;
  }
}

}  // namespace

std::map<std::string, std::string> model_texts(ModelConfig config) {
  OptionTable table;
  config.describe(table);
  const auto texts = table.texts();
  return {texts.begin(), texts.end()};
}

std::map<std::string, std::string> course_of(const TrainOptions& options, const ModelConfig& config) {
  TrainOptions told = options;
  told.model = config;
  OptionTable table;
  told.describe(table);
  std::map<std::string, std::string> course;
  for (auto& [name, value] : table.texts())
    if (!is_one_of(name, kNoMatter)) course.emplace(name, value);
  return course;
}

std::string measure_of(const TrainOptions& o, const std::string& dataset) {
  const ValidationOptions& v = o.validation;
  const std::string how = o.valid_metric == "loss"
                              ? fmt::format("{} sentences, smoothing {}", v.loss_sentences, o.label_smoothing)
                              : fmt::format("{} sentences, beam {}", v.decoded_sentences, v.search.beam_size);
  return fmt::format("{} of {}, directions {}, {}, no token dropped", o.valid_metric, dataset, o.directions,
                     how);
}

std::vector<std::string> change_course(const TrainOptions& options, const ModelConfig& config,
                                       const std::string& dataset, const std::string& path, RunState& state) {
  if (state.seed != options.seed)
    usage_error("--seed {} is not the seed of the run in {}, {}", options.seed, path, state.seed);
  std::map<std::string, std::string> course = course_of(options, config);
  keep_starts(state.course, path, course);
  std::vector<std::string> changes;
  if (!state.dataset.empty() && state.dataset != dataset)
    changes.push_back(
        fmt::format("--data {} is not the dataset it was trained on, {}", options.data,
                    state.course["data"] == options.data ? "which had the same name" : state.course["data"]));
  for (const auto& [name, now] : course)
    if (const auto was = state.course.find(name);
        was != state.course.end() && was->second != now && name != "data")
      changes.push_back(fmt::format("--{}: {}, before {}", name, shown(now), shown(was->second)));
  const std::string measure = measure_of(options, dataset);
  if (state.has_best && state.measure != measure) {
    changes.push_back("the best validation so far was measured otherwise: the next one is the first again");
    state.has_best = false;
    state.n_stalled = 0;
  }
  state.course = std::move(course);
  state.dataset = dataset;
  state.measure = measure;
  return changes;
}

}  // namespace moe

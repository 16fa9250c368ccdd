#include "libmoe/train/state.h"

#include <nlohmann/json.hpp>

#include "libmoe/base/error.h"

namespace moe {
namespace {

using Json = nlohmann::json;
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
              {"layout", choices.layout},
              {"divided_tables", choices.divided_tables},
              {"products", choices.products},
              {"task_costs", choices.task_costs},
              {"task_cost_updates", choices.n_cost_updates},
              {"course", course},
              {"dataset", dataset},
              {"measure", measure},
              {"has_best", has_best},
              {"best_score", best_score},
              {"best_update", best_update},
              {"stalled", n_stalled},
              {"validated_update", validated_update},
              {"kept", kept}}
      .dump(-1, ' ', false, Json::error_handler_t::replace);  // names of files may hold any bytes
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
    s.cursor.n_updates = s.update;
    j.at("draws").get_to(s.cursor.n_draws);
    j.at("taken").get_to(s.cursor.n_taken);
    const auto optional = [&](const char* key, auto& value) {  // absent in older files
      if (j.contains(key)) j.at(key).get_to(value);
    };
    optional("layout", s.choices.layout);
    optional("divided_tables", s.choices.divided_tables);
    optional("products", s.choices.products);
    optional("task_costs", s.choices.task_costs);
    optional("task_cost_updates", s.choices.n_cost_updates);
    optional("course", s.course);
    optional("dataset", s.dataset);
    optional("measure", s.measure);
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
  bool sane = s.update >= 0 && s.cursor.n_draws >= 0 && s.seconds >= 0 && s.choices.n_cost_updates >= 0;
  for (std::int64_t n : s.cursor.n_taken) sane &= n >= 0;
  for (double c : s.choices.task_costs) sane &= c > 0 && c < 1e9;
  if (!sane) bad_input("{}: its training state holds negative counts", where);
  return s;
}

}  // namespace moe

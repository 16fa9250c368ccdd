#include "libmoe/train/session.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "libmoe/base/checksum.h"
#include "libmoe/base/error.h"
#include "libmoe/base/files.h"
#include "libmoe/base/log.h"
#include "libmoe/base/threads.h"
#include "libmoe/comm/together.h"
#include "libmoe/model/checkpoint_parts.h"
#include "libmoe/train/course.h"
#include "libmoe/train/run_product.h"

namespace moe {
namespace {

void check_vocabulary(const Origin& origin, const TrainOptions& options) {
  if (!origin.checkpoint.vocabulary->same_as(origin.dataset->vocabulary()))
    bad_input(
        "{} was trained with another vocabulary than that of {}; make the dataset with "
        "moe-prep build --vocabulary-from and a dataset on which the model was trained",
        origin.path, options.data);
}

/// The output of an earlier run, to go on from.
void open_existing(const std::string& path, Origin& origin) {
  try {
    origin.file = std::make_shared<CheckpointFile>(path);
    origin.checkpoint = origin.file->header();
    origin.checkpoint.training.json = origin.file->read_state();
    origin.state = RunState::from_json(origin.checkpoint.training.json, path);
  } catch (const Error& e) {
    if (e.code() != ErrorCode::bad_input) throw;
    fail(e.code(), "{}. To train another model choose another --output, or overwrite this file with --force",
         e.what());
  }
}

/// Experts are numbered from 0 in every layer until pruning removes some.
std::vector<std::vector<std::int64_t>> fresh_ids(const ModelConfig& config) {
  std::vector<std::vector<std::int64_t>> ids;
  for (int l = 0; l < config.n_moe_layers(); ++l) {
    ids.emplace_back(static_cast<std::size_t>(config.experts_in(l)));
    std::iota(ids.back().begin(), ids.back().end(), 0);
  }
  return ids;
}

/// The model to go on with or to start from, as the methods change it and the options ask for it.
void take_model(const TrainOptions& options, Origin& origin) {
  check_vocabulary(origin, options);
  if (options.methods.changes(origin.checkpoint.config)) {
    if (origin.file) origin.checkpoint = load_checkpoint(origin.path, origin.resumed);
    prepare_model(options.methods, *origin.dataset, options.directions, options.threads, origin.path,
                  origin.checkpoint);
  }
  const ModelConfig& has = origin.checkpoint.config;
  origin.config =
      config_from(has, asked_after(options.methods, options.model, has), options.given, origin.path);
}

/// The state of a run that begins or goes on.
void take_state(const TrainOptions& options, Origin& origin) {
  const std::string dataset = checksum_text(origin.dataset->digest());
  RunState& state = origin.state;
  if (origin.resumed) {
    origin.changes = change_course(options, origin.config, dataset, origin.path, state);
    return;
  }
  state.seed = options.seed;
  state.course = course_of(options, origin.config);
  state.dataset = dataset;
  state.measure = measure_of(options, dataset);
}

}  // namespace

int threads_of(const TrainOptions& options, const Communicator& world) {
  if (options.threads > 0) return static_cast<int>(options.threads);
  const int available = available_processors();
  const bool bound = available < sysconf(_SC_NPROCESSORS_ONLN);
  return bound ? available : std::max(1, available / world.ranks_on_machine());
}

ModelParts parts_of(const TrainOptions& options, const ModelConfig& config,
                    std::shared_ptr<Communicator> world) {
  ModelParts parts;
  parts.grid = std::make_shared<ProcessGrid>(
      std::move(world), GridOptions{.tensor = static_cast<int>(options.tensor_parallel),
                                    .expert = static_cast<int>(options.expert_parallel)});
  parts.zero_stage = static_cast<int>(options.zero_stage);
  parts.partition_embedding = options.divides_tables(config, parts.grid->data().size());
  parts.expert_stages.n_stages = static_cast<int>(options.expert_stages);
  return parts;
}

Origin find_origin(const TrainOptions& options) {
  Origin origin;
  origin.dataset = std::make_shared<const Dataset>(options.data);
  if (!options.force && std::filesystem::exists(options.output)) {
    origin.path = options.output;
    open_existing(options.output, origin);
    // The model's own options, as they were: also of files that hold no others.
    for (auto& [name, value] : model_texts(origin.checkpoint.config)) origin.state.course[name] = value;
    origin.resumed = true;
  } else if (!options.init_from.empty()) {
    origin.path = options.init_from;
    origin.file = std::make_shared<CheckpointFile>(options.init_from);
    origin.checkpoint = origin.file->header();
  } else if (options.methods.has_models()) {
    origin.path = fmt::format("{}", fmt::join(options.methods.models(), " and "));
    origin.checkpoint =
        combined_model(options.methods, options.model, static_cast<std::uint64_t>(options.seed));
  }
  if (origin.path.empty()) {
    options.methods.check_new();
    origin.config = options.model;
    origin.config.vocab_size = origin.dataset->vocabulary().size();
  } else {
    take_model(options, origin);
  }
  origin.config.check();
  origin.config.check_batch(options.batch_tokens, "--batch-tokens", true);
  if (!options.dry_run) take_state(options, origin);
  return origin;
}

Session::Session(const TrainOptions& options, Origin origin, std::shared_ptr<Communicator> world)
    : options_(options),
      dataset_(std::move(origin.dataset)),
      inputs_{options.data},
      device_(Device::open()),
      stream_(*device_, threads_of(options, *world)) {
  if (!options.init_from.empty()) inputs_.push_back(options.init_from);
  for (const std::string& model : options.methods.models()) inputs_.push_back(model);
  ModelParts parts = parts_of(options, origin.config, std::move(world));
  state_ = origin.state;
  product_ = choose_product(options, *device_, parts.grid->world(), state_);
  const bool keeps = keeps_choices(parts);
  if (keeps && options.partition_embedding == "auto")
    parts.partition_embedding = state_.choices.divided_tables;
  state_.choices.divided_tables = parts.partition_embedding;
  if (options.expert_stages == 0 && parts.grid->expert().size() > 1) {
    parts.expert_stages.costs = measure_stage_costs(stream_, *parts.grid);
    if (parts.grid->world().rank() == 0)
      log_debug("stages on the way to experts: {}", parts.expert_stages.costs.text());
  }
  model_.emplace(stream_, origin.config, parts);
  if (origin.path.empty())
    model_->initialise(stream_, static_cast<std::uint64_t>(options.seed));
  else
    on_every_rank(this->world(), [&] { load(origin); });
  if (options.arithmetic.packs()) model_->parameters().keep_packed(stream_, options.arithmetic.weights);
  model_->parameters().make_gradients(stream_);
  adam_.emplace(stream_, model_->parameters(), options.adam);
  SaveHeader header{std::shared_ptr<const Vocabulary>(dataset_, &dataset_->vocabulary()),
                    origin.checkpoint.expert_ids, inputs_};
  if (header.expert_ids.empty()) header.expert_ids = fresh_ids(origin.config);
  saver_.emplace(stream_, *model_, *adam_, std::move(header));
  parallel_.emplace(*model_->parts().grid, model_->parameters(), options.overlap);

  corpus_ = load_corpus(*dataset_, Split::train);
  batcher_.emplace(corpus_, ControlIds::of(dataset_->vocabulary()), NoiseSymbols::of(dataset_->vocabulary()),
                   options.batcher(origin.config));
  task_costs_.emplace(options.task_division(), batcher_->sources().size());
  if (state_.choices.task_costs.size() == batcher_->sources().size())
    task_costs_->set_cost_per_row(state_.choices.task_costs, keeps ? state_.choices.n_cost_updates : 0);
  validator_.emplace(*dataset_, origin.config, options.directions, options.validation);
  if (origin.resumed) on_every_rank(this->world(), [&] { go_on(origin); });
}

void Session::load(const Origin& origin) {
  if (origin.checkpoint.parameters.empty())
    origin.file->load_parameters(stream_, *model_);
  else
    upload_parameters(stream_, origin.checkpoint.parameters, *model_, origin.path);
}

/// Whether what an earlier run chose by itself holds here; the state knows this layout from now on.
bool Session::keeps_choices(const ModelParts& parts) {
  const std::string before = state_.choices.layout;
  state_.choices.layout =
      fmt::format("{} ranks, --tp {}, --ep {}, --zero-stage {}", parts.grid->world().size(),
                  parts.grid->tensor().size(), parts.grid->expert().size(), parts.zero_stage);
  const bool keeps = before == state_.choices.layout;
  if (!before.empty() && parts.grid->world().size() > 1 && parts.grid->world().rank() == 0)
    log_info(
        "{}: what was chosen automatically {}", state_.choices.layout,
        keeps ? "stays as it was saved" : fmt::format("is chosen anew, the run was saved with {}", before));
  return keeps;
}

void Session::go_on(const Origin& origin) {
  if (origin.checkpoint.parameters.empty())
    origin.file->load_moments(stream_, *model_, *adam_);
  else
    upload_moments(stream_, origin.checkpoint.training, *model_, origin.path, *adam_);
  batcher_->set_cursor(state_.cursor);
  if (world().rank() == 0 && origin.file) {
    const std::string file = follow_links(origin.path);
    remove_unnamed(file, parts_of(file));
  }
}

void Session::start_save(std::vector<SaveTarget> targets) {
  state_.choices.task_costs = task_costs_->cost_per_row();
  state_.choices.n_cost_updates = task_costs_->n_measured();
  saver_->start({std::move(targets), state_.to_json(), state_.update});
}

}  // namespace moe

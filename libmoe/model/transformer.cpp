#include "libmoe/model/transformer.h"

#include <cmath>

#include "libmoe/model/model_layers.h"
#include "libmoe/model/transformer_impl.h"
#include "libmoe/nn/loss.h"

namespace moe {
namespace {

Sharding sharding_of(const ModelParts& parts) {
  const ProcessGrid& grid = *parts.grid;
  return {.zero_stage = parts.zero_stage,
          .dense_copies = grid.data().size(),
          .dense_index = grid.data().rank(),
          .expert_copies = grid.expert_data().size(),
          .expert_index = grid.expert_data().rank(),
          .tensor_index = grid.tensor().rank()};
}

// Heads and hidden units are divided over the tensor group, heads evenly.
void check_tensor_group(const ModelConfig& config, const Communicator& tensor) {
  if (config.n_heads % tensor.size() != 0)
    usage_error("--n-heads: {} heads cannot be divided among --tp {} ranks", config.n_heads, tensor.size());
  if (config.d_ffn < tensor.size())
    usage_error("--d-ffn: {} hidden units are fewer than the --tp {} ranks", config.d_ffn, tensor.size());
}

}  // namespace

Transformer::Impl::Impl(const ModelConfig& model_config, const ModelParts& model_parts)
    : config(model_config), parts(model_parts) {
  config.check();
  check_tensor_group(config, parts.grid->tensor());
  const ModelSpec spec = model_spec(config);
  const Table* table = config.tie_embeddings ? &add_table("embedding.weight") : nullptr;
  const auto make_stack = [&](const StackSpec& stack) {
    const Table& own = table ? *table : add_table(stack.name + ".embedding.weight");
    return std::make_unique<Stack>(parameters, stack, own, parts);
  };
  if (spec.encoder) encoder = make_stack(*spec.encoder);
  decoder = make_stack(spec.decoder);
  output_table = table ? table : &add_table("output.weight");
}

void Transformer::Impl::allocate(Stream& stream) {
  for (const auto& p : parameters.all())
    if (p->spec.product) p->held = p->spec.per_expert() ? parts.expert_weights : parts.weights;
  parameters.allocate(stream.device(), sharding_of(parts));
  for (Stack* stack : {encoder.get(), decoder.get()})
    if (stack != nullptr) stack->make_positions(stream);
}

const Table& Transformer::Impl::add_table(const std::string& name) {
  const TableGroups groups = table_groups(*parts.grid, parts.partition_embedding);
  if (groups.all != nullptr && config.vocab_size < groups.all->size())
    usage_error("a vocabulary of {} tokens cannot be divided among {} ranks: use fewer ranks",
                config.vocab_size, groups.all->size());
  tables.push_back(std::make_unique<Table>(parameters, name, config.vocab_size, config.d_model, groups));
  return *tables.back();
}

ParameterList parameter_layout(const ModelConfig& config, const ModelParts& parts) {
  Transformer::Impl impl(config, parts);
  impl.parameters.lay_out(sharding_of(parts));
  return std::move(impl.parameters);
}

Transformer::Transformer(Stream& stream, const ModelConfig& config, const ModelParts& parts)
    : impl_(std::make_unique<Impl>(config, parts)) {
  impl_->allocate(stream);
}
Transformer::~Transformer() = default;
Transformer::Transformer(Transformer&&) noexcept = default;

const ModelConfig& Transformer::config() const {
  return impl_->config;
}
const ModelParts& Transformer::parts() const {
  return impl_->parts;
}
ParameterList& Transformer::parameters() {
  return impl_->parameters;
}
const ParameterList& Transformer::parameters() const {
  return impl_->parameters;
}

std::string Transformer::moe_prefix(int moe_layer) const {
  return moe_prefixes(impl_->config).at(static_cast<std::size_t>(moe_layer));
}

namespace {

// first_row: of the rows of the stack that it runs through.
Pass pass_of(const PassOptions& options, std::int64_t first_row) {
  return {.training = options.training,
          .product = options.product,
          .random = {.seed = options.seed, .update = options.update, .first_row = first_row}};
}

LayerPass layer_pass(const PassOptions& options, const DeviceRows& rows,
                     const std::vector<std::int64_t>& rows_by_rank) {
  LayerPass shared;
  shared.rows = rows.ranges();
  shared.moe = {.aux_scale = options.aux_scale,
                .group = rows.group,
                .n_groups = rows.n_groups,
                .tokens_by_rank = rows_by_rank};
  shared.observer = options.observer;
  shared.recompute = options.recompute;
  shared.watch = options.watch;
  return shared;
}

LayerBalance balance_of(Stream& stream, const MoeRecord& record, bool with_languages) {
  LayerBalance balance;
  const GateStatistics& s = record.statistics;
  balance.expert_tokens.assign(record.counts.begin(), record.counts.end());
  const std::vector<float> confidence = to_host<float>(stream, s.confidence);
  balance.expert_confidence.assign(confidence.begin(), confidence.end());
  balance.n_dropped = record.n_dropped;
  for (std::int64_t n : balance.expert_tokens) balance.n_choices += n;
  balance.entropy_sum = to_host<float>(stream, s.entropy)[0];
  balance.n_tokens = s.n_tokens;
  if (!with_languages) return balance;
  const std::vector<std::int32_t> flat = to_host<std::int32_t>(stream, s.by_group);
  const std::size_t e = balance.expert_tokens.size();
  for (std::size_t i = 0; i < flat.size(); i += e) balance.by_language.emplace_back(&flat[i], &flat[i] + e);
  return balance;
}

void add_gate_results(Stream& stream, const std::vector<const Gate*>& gates,
                      const std::vector<MoeRecord>& records, bool with_languages, PassResult& result) {
  MOE_CHECK(gates.size() == records.size());
  for (std::size_t i = 0; i < gates.size(); ++i) {
    result.aux_loss += gates[i]->aux_loss(stream, records[i].statistics);
    result.z_loss += gates[i]->z_loss(stream, records[i].statistics);
    result.balance.push_back(balance_of(stream, records[i], with_languages));
  }
}

std::vector<const Gate*> gates_of(const Stack* encoder, const Stack& decoder) {
  std::vector<const Gate*> gates;
  for (const Stack* stack : {encoder, &decoder})
    for (std::size_t i = 0; stack != nullptr && i < stack->layers().size(); ++i)
      if (stack->layers()[i].gate() != nullptr) gates.push_back(stack->layers()[i].gate());
  return gates;
}

}  // namespace

PassResult Transformer::pass(Stream& stream, const Batch& batch, const PassOptions& options) {
  Impl& m = *impl_;
  Communicator& tensor = m.parts.grid->tensor();
  if (options.observer != nullptr) options.observer->before_use(stream, 0, options.backward);
  MOE_CHECK(!options.backward || m.output_table->gradient(), "a backward pass before make_gradients()");
  const DeviceRows target = m.upload(stream, batch.target, batch.language);
  DeviceRows source;
  const Pass encoder_pass = pass_of(options, batch.first_source_row),
             decoder_pass = pass_of(options, batch.first_target_row);
  LayerPass of_encoder, of_decoder = layer_pass(options, target, batch.target_rows_by_rank);
  Stack::Saved encoder_saved, decoder_saved;
  std::vector<MoeRecord> encoder_records, decoder_records;
  Tensor memory;
  if (m.encoder) {
    source = m.upload(stream, batch.source, batch.language);
    MOE_CHECK(batch.source.n_sentences() == batch.target.n_sentences());
    of_encoder = layer_pass(options, source, batch.source_rows_by_rank);
    memory = m.encoder->forward(stream, encoder_pass, source, of_encoder,
                                options.backward ? &encoder_saved : nullptr, encoder_records);
    of_decoder.memory = memory;
    of_decoder.memory_rows = source.ranges();
  }
  Tensor dy;
  LossSums loss;
  {
    const Tensor y = m.decoder->forward(stream, decoder_pass, target, of_decoder,
                                        options.backward ? &decoder_saved : nullptr, decoder_records);
    if (options.backward) dy = Tensor(stream.device(), y.shape());
    loss = projected_cross_entropy(stream, decoder_pass, y, *m.output_table, batch.labels,
                                   {options.label_smoothing, options.loss_scale, options.backward}, dy);
  }
  if (options.backward) {
    Tensor dmemory;
    if (m.encoder) dmemory = Tensor::zeros(stream, memory.shape());
    m.decoder->backward(stream, decoder_pass, target, of_decoder, std::move(decoder_saved), std::move(dy),
                        dmemory, decoder_records);
    if (m.encoder && tensor.size() > 1) tensor.all_reduce(stream, Reduce::sum, dmemory);
    if (m.encoder)
      m.encoder->backward(stream, encoder_pass, source, of_encoder, std::move(encoder_saved),
                          std::move(dmemory), {}, encoder_records);
  }
  if (options.observer != nullptr) options.observer->after_use(stream, 0, options.backward);
  PassResult result;
  result.loss_sum = loss.loss;
  result.nll_sum = loss.nll;
  result.n_target_tokens = loss.n_rows;
  for (MoeRecord& record : decoder_records) encoder_records.push_back(std::move(record));
  add_gate_results(stream, gates_of(m.encoder.get(), *m.decoder), encoder_records, !batch.language.empty(),
                   result);
  return result;
}

Tensor Transformer::logits(Stream& stream, const Batch& batch) {
  Impl& m = *impl_;
  const PassOptions options{.training = false, .backward = false};
  const DeviceRows target = m.upload(stream, batch.target, {});
  const Pass pass = pass_of(options, 0);
  LayerPass of_decoder = layer_pass(options, target, {});
  of_decoder.moe.statistics = false;
  EncoderOutput memory;
  DeviceRows source;
  if (m.encoder) {
    memory = encode(stream, pass, batch.source, nullptr);
    source = m.upload(stream, batch.source, {});
    of_decoder.memory = memory.memory;
    of_decoder.memory_rows = source.ranges();
  }
  std::vector<MoeRecord> records;
  const Tensor y = m.decoder->forward(stream, pass, target, of_decoder, nullptr, records);
  Tensor logits(stream.device(), {target.n_rows, m.config.vocab_size});
  ops::gemm(stream, {.a = y, .b = WeightView(m.output_table->whole()).transposed(), .c = logits});
  return logits;
}

}  // namespace moe
